//! The big buffers of the byte path: a pool per worker, so an idle stream holds none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Sixteen full records and the slack between them. 128 KiB to 1 MiB measured alike; 16 KiB falls behind at 64 streams.
pub(crate) const SIZE: usize = 256 * 1024 + 1024;

/// What a worker keeps for reuse; more are freed.
const KEPT: usize = 32;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`SIZE`] bytes. Goes back to its worker's pool when dropped.
///
/// Its content is whatever the last user left: only ranges that were filled since are ever read.
pub(crate) struct Buffer(Option<Box<[u8]>>);

impl Buffer {
    pub(crate) fn take() -> Self {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        Self(Some(pooled.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().expect("taken out by drop alone")
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().expect("taken out by drop alone")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.0.take() {
            // A thread that is ending has no pool any more: then the buffer is freed.
            let _ = POOL.try_with(|pool| {
                if let Ok(mut pool) = pool.try_borrow_mut()
                    && pool.len() < KEPT
                {
                    pool.push(buffer);
                }
            });
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buffer")
    }
}

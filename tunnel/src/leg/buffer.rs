//! The big buffers of the byte path: a pool per worker, so an idle stream holds none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Sixteen full records and the slack between them. 128 KiB to 1 MiB measured alike; 16 KiB falls behind at 64 streams.
pub(crate) const SIZE: usize = 256 * 1024 + 1024;

/// What a worker keeps for reuse; more are freed.
const KEPT: usize = 32;

thread_local! {
    static POOL: RefCell<Vec<Pooled>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`SIZE`] bytes. Goes back to its worker's pool when dropped.
///
/// Its content is whatever the last user left: only ranges that were filled since are ever read. When a stream ends,
/// [`wipe`] leaves nothing of it in the pool.
pub(crate) struct Buffer(Option<Box<[u8]>>);

/// One that waits for its next user.
struct Pooled {
    bytes: Box<[u8]>,
    /// It may hold plaintext.
    used: bool,
}

/// Wipes what lies in this worker's pool. Once a stream, not once a batch: a stream that goes on takes its buffer up again
/// at once.
pub(crate) fn wipe() {
    let _ = POOL.try_with(|pool| {
        let Ok(mut pool) = pool.try_borrow_mut() else { return };
        for pooled in pool.iter_mut().filter(|pooled| pooled.used) {
            clear(&mut pooled.bytes);
            pooled.used = false;
        }
    });
}

/// The bytes are looked at afterwards, as far as the compiler knows: so they are written.
fn clear(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

impl Buffer {
    pub(crate) fn take() -> Self {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        Self(Some(pooled.map_or_else(|| vec![0; SIZE].into_boxed_slice(), |pooled| pooled.bytes)))
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
        let Some(mut bytes) = self.0.take() else { return };
        // A thread that is ending has no pool any more: then the buffer is freed.
        let _ = POOL.try_with(|pool| {
            let Ok(mut pool) = pool.try_borrow_mut() else { return };
            if pool.len() < KEPT {
                pool.push(Pooled { bytes: std::mem::take(&mut bytes), used: true });
            }
        });
        clear(&mut bytes);
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buffer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_stream_is_left_in_the_pool() {
        let mut buffer = Buffer::take();
        buffer[SIZE - 6..].copy_from_slice(b"secret");
        drop(buffer);
        let again = Buffer::take();
        assert_eq!(&again[SIZE - 6..], b"secret", "the pool gives back what it was given");
        drop(again);
        wipe();
        let next = Buffer::take();
        assert!(next.iter().all(|byte| *byte == 0));
    }
}

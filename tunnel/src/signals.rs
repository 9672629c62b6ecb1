//! SIGTERM and SIGINT: the first drains, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// Counts the signals that ask for the end.
#[derive(Clone, Default, Debug)]
pub struct EndAsked(Arc<AtomicUsize>);

impl EndAsked {
    /// Takes over the signals. Blocks until the first has come; later ones are counted meanwhile.
    pub fn wait(&self) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        runtime.block_on(async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        });
        self.0.store(1, Ordering::Release);
        let count = Arc::clone(&self.0);
        // Ends with the process.
        std::thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                    count.fetch_add(1, Ordering::AcqRel);
                }
            });
        });
        Ok(())
    }

    /// Whether somebody does not want to wait for the drain.
    pub fn at_once(&self) -> bool {
        self.0.load(Ordering::Acquire) > 1
    }
}

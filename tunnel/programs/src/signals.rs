//! SIGTERM and SIGINT: the first drains, the second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use tokio::signal::unix::{SignalKind, signal};

/// Counts the signals that ask for the end.
#[derive(Debug)]
pub struct EndAsked {
    count: Arc<AtomicUsize>,
    asked: Receiver<()>,
}

impl EndAsked {
    /// Takes over the signals. To be called before a process says that it serves: one that comes right after is
    /// then a drain, too, and not a death.
    pub fn take_over() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let count = Arc::new(AtomicUsize::new(0));
        let (ask, asked) = channel();
        let counted = Arc::clone(&count);
        // Ends with the process.
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                    counted.fetch_add(1, Ordering::AcqRel);
                    // Nobody waits for the second.
                    let _ = ask.send(());
                }
            });
        })?;
        Ok(Self { count, asked })
    }

    /// Blocks until the first signal has come; later ones are counted meanwhile.
    pub fn wait(&self) {
        // The thread of the signals never ends, so neither does its channel.
        let _ = self.asked.recv();
    }

    /// Whether a signal has come. Does not block.
    pub fn is_asked(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Whether somebody does not want to wait for the drain.
    pub fn at_once(&self) -> bool {
        self.count.load(Ordering::Acquire) > 1
    }
}

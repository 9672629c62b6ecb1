//! A workload in this very process: the end of a path that needs no socket.
//!
//! It sees one end of a socket pair; the relay has the other, so that frames, ends and receipts are the same as for
//! any other target.

mod echo;
mod files;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::net::UnixStream;

pub use echo::Echo;
pub use echo::HELLO;
pub use files::Files;

/// What serving one stream is.
pub type Serving<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>;

/// Serves one stream. It ends the stream by dropping it.
pub trait Workload: Send + Sync + fmt::Debug {
    fn serve(&self, stream: UnixStream) -> Serving<'_>;
}

//! How a leg parts from its peer: our last words are read before the transport goes.
//!
//! One rule for every kind of leg. A socket that is closed with unread bytes in it is reset, and the reset takes with it
//! what the peer has not read yet. So our direction is ended, and what the peer still sends is read away until it
//! closes. A peer in the middle of bulk data is slow to read: only the time is bounded, not the bytes.

use std::io::ErrorKind;
use std::time::Duration;

use crate::leg::buffer::Buffer;
use crate::leg::socket::Socket;

/// How long a peer has to take our last words.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// Ends our direction, and waits for the peer to close. What is queued has been written. The caller bounds the time.
pub(crate) async fn until_closed(socket: &Socket) {
    if socket.shutdown_write().is_err() {
        return;
    }
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        // Not while it is waited for: many part at once.
        match socket.try_read(&mut Buffer::take()) {
            Ok(0) => return,
            Ok(_) => tokio::task::consume_budget().await,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// [`until_closed`], for [`FAREWELL`] at most.
pub(crate) async fn say(socket: &Socket) {
    let _ = tokio::time::timeout(FAREWELL, until_closed(socket)).await;
}

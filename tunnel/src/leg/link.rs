//! What the two halves of a TLS leg tell each other: they are driven by different directions of the relay.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;

use inclavared_wire::frame::Frame;

/// Most control frames that may wait for the writing half. More is a peer that asks faster than it reads.
const MAX_WAITING: usize = 8;

/// Shared by the reading and the writing half of one leg; never leaves its worker.
#[derive(Default, Debug)]
pub struct Link {
    key_update: Cell<bool>,
    peer_update: Cell<bool>,
    frames: RefCell<VecDeque<Frame>>,
    wake: Notify,
}

impl Link {
    /// The peer asked for an update of our keys (RFC 8446 section 4.6.3); several requests are one.
    pub fn want_key_update(&self) {
        self.key_update.set(true);
        self.wake.notify_one();
    }

    pub fn take_key_update(&self) -> bool {
        self.key_update.replace(false)
    }

    /// The peer's key has served long enough, and the peer does not change it by itself: it is asked to.
    pub fn want_peer_update(&self) {
        self.peer_update.set(true);
        self.wake.notify_one();
    }

    pub fn take_peer_update(&self) -> bool {
        self.peer_update.replace(false)
    }

    /// Puts a control frame in line, to go between two DATA frames. `false`: the line is full.
    pub fn post(&self, frame: Frame) -> bool {
        let mut frames = self.frames.borrow_mut();
        if frames.len() >= MAX_WAITING {
            return false;
        }
        frames.push_back(frame);
        self.wake.notify_one();
        true
    }

    pub fn take_frame(&self) -> Option<Frame> {
        self.frames.borrow_mut().pop_front()
    }

    pub fn has_work(&self) -> bool {
        self.key_update.get() || self.peer_update.get() || !self.frames.borrow().is_empty()
    }

    /// Waits until there is something to send. Cancel safe.
    pub async fn work(&self) {
        self.wake.notified().await;
    }
}

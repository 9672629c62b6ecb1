//! Why a message of the protocol was refused before anything in it was judged: its form.

use crate::Reason;
use crate::dcbor::FormError;

/// A frame's payload that is not of its form. The peer's fault.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}: {form}")]
pub struct WireError {
    /// The frame's name in the protocol.
    pub message: &'static str,
    pub form: FormError,
}

impl WireError {
    pub fn reason(&self) -> Reason {
        Reason::Protocol
    }
}

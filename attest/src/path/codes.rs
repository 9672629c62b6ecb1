//! Numbers on the wire for what the rest of the crate names.

use crate::dcbor::{FormError, Item};
use crate::policy::{Binding, TerminalKind};

/// What a record is for, and with it a trailer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Preview,
    Refresh,
    Final,
    Response,
    Forward,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Preview, Self::Refresh, Self::Final, Self::Response, Self::Forward];

    pub const fn code(self) -> u64 {
        match self {
            Self::Preview => 1,
            Self::Refresh => 2,
            Self::Final => 3,
            Self::Response => 4,
            Self::Forward => 5,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Refresh => "refresh",
            Self::Final => "final",
            Self::Response => "response",
            Self::Forward => "forward",
        }
    }

    pub(super) fn read(item: Item<'_>) -> Result<Self, FormError> {
        let code = item.uint_in("kind", 1, Self::ALL.len() as u64)?;
        Ok(Self::ALL[code as usize - 1])
    }
}

/// How a stream ended, as the last hop saw it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CloseReason {
    /// END went both ways.
    Complete,
    /// One direction ended, and the timer ended the other.
    HalfClose,
    Idle,
    Shutdown,
    /// The path below broke off: see the severed downstream.
    Severed,
    /// The evidence grew older than the policy's `max_path_age`.
    PathAge,
}

impl CloseReason {
    pub const ALL: [Self; 6] =
        [Self::Complete, Self::HalfClose, Self::Idle, Self::Shutdown, Self::Severed, Self::PathAge];

    pub const fn code(self) -> u64 {
        match self {
            Self::Complete => 1,
            Self::HalfClose => 2,
            Self::Idle => 3,
            Self::Shutdown => 4,
            Self::Severed => 5,
            Self::PathAge => 6,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::HalfClose => "half-close",
            Self::Idle => "idle",
            Self::Shutdown => "shutdown",
            Self::Severed => "severed",
            Self::PathAge => "path-age",
        }
    }

    pub(super) fn read(item: Item<'_>) -> Result<Self, FormError> {
        let code = item.uint_in("close reason", 1, Self::ALL.len() as u64)?;
        Ok(Self::ALL[code as usize - 1])
    }
}

pub(super) const fn binding_code(binding: Binding) -> u64 {
    match binding {
        Binding::Key => 1,
        Binding::KeyAudit => 2,
        Binding::Quote => 3,
    }
}

pub(super) fn binding_from_code(item: Item<'_>) -> Result<Binding, FormError> {
    Ok(match item.uint_in("binding", 1, 3)? {
        1 => Binding::Key,
        2 => Binding::KeyAudit,
        _ => Binding::Quote,
    })
}

pub(super) const fn terminal_code(kind: TerminalKind) -> u64 {
    match kind {
        TerminalKind::Workload => 1,
        TerminalKind::SameTee => 2,
        TerminalKind::TeeLocal => 3,
        TerminalKind::HostLocal => 4,
        TerminalKind::Plain => 5,
    }
}

pub(super) fn terminal_from_code(item: Item<'_>) -> Result<TerminalKind, FormError> {
    Ok(match item.uint_in("terminal kind", 1, 5)? {
        1 => TerminalKind::Workload,
        2 => TerminalKind::SameTee,
        3 => TerminalKind::TeeLocal,
        4 => TerminalKind::HostLocal,
        _ => TerminalKind::Plain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_order_of_all() {
        for (i, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(kind.code(), i as u64 + 1, "{}", kind.name());
        }
        for (i, close) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(close.code(), i as u64 + 1, "{}", close.name());
        }
    }
}

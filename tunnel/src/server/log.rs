//! One line a connection: who, through which route, how far it came, how it ended, and why.

use inclavared_attest::path::CloseReason;
use inclavared_wire::tls::TlsError;

use crate::error::{Error, PeerMisbehaved, Refused};
use crate::server::ended::Report;

/// Logs a connection that has ended.
pub fn connection(report: &Report) {
    let route = report.route.route.name.as_str();
    let source = report.source.map(|source| source.to_string()).unwrap_or_else(|| "local".to_owned());
    let hops = report.path.as_ref().map_or(0, |path| path.hops.len());
    let (up, down) = (report.counters.up, report.counters.down);
    let lasted_ms = u64::try_from(report.lasted.as_millis()).unwrap_or(u64::MAX);
    let opened_ms = report.opened_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    match &report.result {
        Ok(closed) if closed.reason == CloseReason::Complete => {
            tracing::info!(route, source, hops, up, down, opened_ms, lasted_ms, close = "complete", "closed");
        }
        Ok(closed) => {
            let close = closed.reason.name();
            tracing::warn!(route, source, hops, up, down, opened_ms, lasted_ms, close, "closed early");
        }
        Err(error) if is_a_probe(error) => {
            tracing::debug!(route, source, "connected and left without a word");
        }
        Err(error) => {
            let (reason, line) = (error.reason().label(), printable(&error.one_line()));
            match error {
                Error::Peer(PeerMisbehaved::Aborted(_)) => {
                    tracing::info!(route, source, reason, lasted_ms, error = line, "left before its start");
                }
                Error::Refused(Refused::Path(path)) => {
                    let (hop, check) = (path.hop, path.check.name());
                    tracing::warn!(route, source, hop, check, reason, lasted_ms, error = line, "refused");
                }
                Error::Refused(_) | Error::Collateral { .. } => {
                    tracing::warn!(route, source, reason, lasted_ms, error = line, "refused")
                }
                _ => tracing::warn!(route, source, hops, up, down, reason, lasted_ms, error = line, "failed"),
            }
        }
    }
}

/// Health checks and port scans, and legs that stood ready for nobody.
fn is_a_probe(error: &Error) -> bool {
    matches!(error, Error::Peer(PeerMisbehaved::Tls(TlsError::ClosedAtOnce) | PeerMisbehaved::NeverAsked))
}

/// Some of it came from a peer: nothing of it may be a line of its own, or a colour.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

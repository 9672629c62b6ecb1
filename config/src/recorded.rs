//! Files of reference values: what a verifier saw on a path that it had verified, as a policy.

use std::time::Duration;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{CodeIdentity, TcbStatus};
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::TerminalKind;

use crate::document::Table;

/// One hop of a verified path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedHop {
    /// 1 is the hop next to the verifier.
    pub position: u8,
    pub role: String,
    pub tee: Tee,
    pub code: CodeIdentity,
    pub simulated: bool,
    pub debug: bool,
    pub tcb_status: TcbStatus,
    /// What names the machine: shown in the file, not compared.
    pub platform_ids: Vec<Vec<u8>>,
}

/// How the path ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordedEnd {
    Terminal(TerminalKind),
    /// An attested peer that does not speak the protocol.
    Legacy,
}

/// Who recorded what, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordMeta {
    /// The name of the policy in the file.
    pub policy: String,
    /// The tool (`shelter`).
    pub by: String,
    /// Its version.
    pub version: String,
    pub at: Timestamp,
    /// The address of the path's first hop.
    pub path: String,
    pub end: RecordedEnd,
    /// The grace that the path was verified under.
    pub grace: Duration,
}

pub fn render_recorded(hops: &[RecordedHop], meta: &RecordMeta) -> String {
    let _ = (hops, meta);
    String::new()
}

/// `[recorded]`: shown to people, judged by nobody, but written by a known form.
pub(crate) fn read_recorded(root: &Table<'_>) {
    let Some(table) = root.table("recorded") else { return };
    for key in ["by", "version", "at", "path"] {
        table.get(key).and_then(|v| v.text());
    }
    table.finish();
}

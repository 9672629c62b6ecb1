//! From a verified path to the file of its reference values.

use inclavared_attest::Timestamp;
use inclavared_attest::path::{Path, PathHop};
use inclavared_config::{RecordMeta, RecordedHop, render_recorded};

use crate::cli::Verification;

/// The policy, named `name`, that accepts exactly what was measured on this path.
pub fn recorded(path: &Path, verified: &Verification, name: &str) -> String {
    let hops: Vec<_> = path.hops.iter().map(recorded_hop).collect();
    let meta = RecordMeta {
        policy: name,
        by: "shelter",
        version: env!("CARGO_PKG_VERSION"),
        at: Timestamp::now(),
        path: &verified.target.to_string(),
        end: path.end,
        verified_under: &verified.policy,
    };
    render_recorded(&hops, &meta)
}

fn recorded_hop(hop: &PathHop) -> RecordedHop {
    RecordedHop {
        position: hop.position,
        role: hop.role.clone(),
        tee: hop.appraised.tee,
        code: hop.appraised.code.clone(),
        simulated: hop.verdict.simulated,
        debug: hop.appraised.debug,
        tcb_status: hop.appraised.tcb_status,
        platform_ids: hop.appraised.platform.ids.clone(),
        config_digest: hop.evidence.claims().hop().map(|claims| claims.config_digest),
    }
}

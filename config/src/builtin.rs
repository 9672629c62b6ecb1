//! The one policy that exists without a file.

use std::collections::BTreeSet;
use std::time::Duration;

use inclavared_attest::appraise::TcbStatus;
use inclavared_attest::policy::{Binding, ChainShape, IdentityRule, Measurements, Policy, TcbPolicy, TerminalKind};

/// The built-in policy's name; no policy of a file may have it.
pub const GENUINE_ONLY: &str = "genuine-only";

/// A genuine TEE with an acceptable TCB, debug refused, measurements *not compared* (PROTOCOL section 8).
pub fn genuine_only() -> Policy {
    Policy {
        name: GENUINE_ONLY.into(),
        allow_simulated: false,
        danger_allow_null: false,
        danger_allow_debug: false,
        tcb: default_tcb(),
        identity: IdentityRule::AnyGenuine,
        measurements: Measurements::NotCompared,
        shape: ChainShape {
            order: Vec::new(),
            min_hops: 1,
            max_hops: 8,
            terminals: default_terminals(),
            allow_legacy_end: true,
        },
        max_evidence_age: Duration::from_secs(3600),
        max_path_age: Duration::from_secs(3600),
        binding: Binding::Key,
    }
}

/// What clouds' platforms are when they are well kept: their quotes fail a stricter rule (EVIDENCE, dcap-qvl).
pub(crate) fn default_tcb() -> TcbPolicy {
    TcbPolicy {
        accepted: BTreeSet::from([
            TcbStatus::UpToDate,
            TcbStatus::SWHardeningNeeded,
            TcbStatus::ConfigurationNeeded,
            TcbStatus::ConfigurationAndSWHardeningNeeded,
        ]),
        grace: Duration::ZERO,
        refused_advisories: BTreeSet::new(),
        allow_smt: true,
        allow_dynamic_platform: true,
        allow_cached_keys: true,
    }
}

/// The ends at which no plain byte leaves the TEE.
pub(crate) fn default_terminals() -> BTreeSet<TerminalKind> {
    BTreeSet::from([TerminalKind::Workload, TerminalKind::SameTee, TerminalKind::TeeLocal])
}

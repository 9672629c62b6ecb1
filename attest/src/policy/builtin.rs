//! The built-in policy `genuine-only`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Binding, ChainShape, IdentityRule, Measurements, Policy, TcbPolicy, TerminalKind};
use crate::appraise::TcbStatus;

impl Policy {
    /// What stands where no policy was named: a genuine TEE in an acceptable state, whatever code runs in it.
    ///
    /// It is for a first look and for the command line of the original programs; whoever relies on a path names
    /// measurements. Every verdict under it says that they were not compared.
    pub fn genuine_only() -> Self {
        Self {
            name: "genuine-only".into(),
            allow_simulated: false,
            danger_allow_null: false,
            danger_allow_debug: false,
            tcb: TcbPolicy::cloud(),
            identity: IdentityRule::AnyGenuine,
            named: None,
            measurements: Measurements::NotCompared,
            shape: ChainShape {
                order: Vec::new(),
                min_hops: 1,
                max_hops: 8,
                // Where the last hop hands plain bytes to its host or to a network, the path ends outside of every
                // TEE: that is for a policy to say.
                terminals: BTreeSet::from([TerminalKind::Workload, TerminalKind::SameTee, TerminalKind::TeeLocal]),
                // Such a peer's evidence is appraised by the verifier itself, under this policy.
                allow_legacy_end: true,
            },
            max_evidence_age: Duration::from_secs(3600),
            max_path_age: Duration::from_secs(3600),
            binding: Binding::Key,
            refuse_warm_legs: false,
        }
    }

    /// [`genuine_only`](Self::genuine_only) for the path behind a client: it may begin anywhere, as whoever asks is often
    /// at a desk, without a TEE.
    pub fn genuine_callers() -> Self {
        let built_in = Self::genuine_only();
        Self { shape: ChainShape { terminals: TerminalKind::ALL.into(), ..built_in.shape }, ..built_in }
    }

    /// Judges nothing: for whoever checks that the records of a path join, and leaves what they say to others.
    pub(crate) fn unjudged() -> Self {
        let callers = Self::genuine_callers();
        Self {
            name: "unjudged".into(),
            allow_simulated: true,
            danger_allow_null: true,
            danger_allow_debug: true,
            shape: ChainShape { max_hops: super::MAX_HOPS, ..callers.shape },
            ..callers
        }
    }
}

impl TcbPolicy {
    /// What healthy machines in clouds state. The default of every policy.
    ///
    /// - `SWHardeningNeeded`, `ConfigurationNeeded` and both: the platform is patched; Intel says that the enclave's
    ///   software should guard against a class of attacks, or that a setting (hyperthreading, most often) is not the
    ///   safest. A tenant can change neither, and current clouds state them.
    /// - Not `OutOfDate` nor `TDRelaunchAdvised`: a known hole was open, now or when the TD was launched.
    /// - Hyperthreading, more than one package and cached platform keys: every cloud's TDX machines have all three
    ///   (five of five real TDX quotes that were looked at).
    pub fn cloud() -> Self {
        Self {
            accepted: BTreeSet::from([
                TcbStatus::UpToDate,
                TcbStatus::SWHardeningNeeded,
                TcbStatus::ConfigurationNeeded,
                TcbStatus::ConfigurationAndSWHardeningNeeded,
            ]),
            grace: Duration::ZERO,
            refused_advisories: BTreeSet::new(),
            allowed_advisories: None,
            allow_smt: true,
            allow_dynamic_platform: true,
            allow_cached_keys: true,
            snp_min: BTreeMap::new(),
        }
    }
}

//! Reference values from a verified path, as `shelter record` writes them.

use inclavared_attest::appraise::Appraised;
use inclavared_attest::evidence::Evidence;
use inclavared_attest::path::{LEGACY_ROLE, Path};
use inclavared_attest::policy::Policy;
use inclavared_attest::{KeyId, Timestamp};
use inclavared_config::{RecordMeta, RecordedHop, render_recorded_path};

/// Under which name, when and where a path is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// The policy's name in the file.
    pub name: &'a str,
    /// The address of the first hop.
    pub address: &'a str,
    pub at: Timestamp,
    /// Who records, in words of their own.
    pub operator: Option<&'a str>,
    /// Who signs the file.
    pub key: Option<KeyId>,
    /// What the path was verified under.
    pub policy: &'a Policy,
}

/// The file: a policy that this path passes, and hardly another.
pub fn recorded(path: &Path, recording: &Recording<'_>) -> String {
    let hops: Vec<_> = path
        .hops
        .iter()
        .map(|hop| recorded_hop(hop.position, &hop.role, &hop.evidence, &hop.appraised, hop.verdict.simulated))
        .collect();
    let legacy = path.legacy.as_ref().map(|peer| {
        let role = peer.evidence.claims().hop().map_or(LEGACY_ROLE, |claims| &claims.chain_role);
        let position = path.hops.len() as u8 + 1;
        recorded_hop(position, role, &peer.evidence, &peer.appraised, peer.verdict.simulated)
    });
    let meta = RecordMeta {
        policy: recording.name,
        by: "shelter",
        version: env!("CARGO_PKG_VERSION"),
        operator: recording.operator,
        at: recording.at,
        path: recording.address,
        end: path.end,
        verified_under: recording.policy,
        key: recording.key,
    };
    render_recorded_path(&hops, legacy.as_ref(), &meta)
}

fn recorded_hop(position: u8, role: &str, evidence: &Evidence, appraised: &Appraised, simulated: bool) -> RecordedHop {
    RecordedHop {
        position,
        role: role.to_owned(),
        tee: appraised.tee,
        code: appraised.code.clone(),
        simulated,
        debug: appraised.debug,
        tcb_status: appraised.tcb_status,
        platform_ids: appraised.platform.ids.clone(),
        config_digest: evidence.claims().hop().map(|claims| claims.config_digest),
    }
}

#[cfg(test)]
mod tests {
    use inclavared_attest::Reason;
    use inclavared_attest::sim::SimSpec;
    use inclavared_config::parse_policy;

    use super::super::testing::{NOW, WORLD, chain, chain_of, pinned, policy};
    use super::*;

    #[test]
    fn the_recorded_path_passes_and_another_does_not() {
        let path = chain(&WORLD, NOW, 3).verify(&policy()).unwrap();
        let text = recorded(
            &path,
            &Recording { name: "prod", address: "tcp://h:1", at: NOW, operator: None, key: None, policy: &policy() },
        );
        let policy = parse_policy("values.toml", &text, None).unwrap();
        assert_eq!(policy.name, "prod");
        assert!(chain(&WORLD, NOW, 3).verify(&policy).unwrap().compared);

        let other = chain_of(&WORLD, NOW, &[SimSpec::sgx("hop"), SimSpec::tdx("hop"), SimSpec::sgx("other")]);
        let error = other.verify(&policy).unwrap_err();
        assert_eq!((error.hop, error.reason()), (Some(3), Reason::Measurement));
        assert_eq!(chain(&WORLD, NOW, 2).verify(&policy).unwrap_err().reason(), Reason::Shape);
    }

    #[test]
    fn a_peer_without_this_protocol_is_recorded_as_well() {
        let ending_in = |count, label| chain(&WORLD, NOW, count).with_legacy_end(&WORLD, label);
        let pinned = pinned(&ending_in(2, "peer").verify(&policy()).unwrap());
        assert!(ending_in(2, "peer").verify(&pinned).unwrap().compared);
        let error = ending_in(2, "other").verify(&pinned).unwrap_err();
        assert_eq!((error.hop, error.reason()), (Some(3), Reason::Measurement));
        let error = ending_in(3, "peer").verify(&pinned).unwrap_err();
        assert_eq!((error.hop, error.reason()), (Some(3), Reason::Measurement));
    }
}

//! Paths as a preview shows them: what is accepted, and for each check a path that fails exactly that one.

mod chain;
mod judges;

use std::sync::Arc;

use chain::{Chain, untouched};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::path::{Check, Downstream, Expects, PathError, Path, PathEnd, Record, verify_path};
use inclavared_attest::policy::{Policy, TerminalKind};
use inclavared_attest::{Reason};
use judges::{NOW, appraiser, attesters, policy};

fn verify(chain: &Chain, trailer: &[u8], policy: &Policy) -> Result<Path, PathError> {
    verify_path(&chain.input(trailer, Expects::Preview), policy, &appraiser())
}

#[test]
fn paths_of_one_to_eight_hops_are_accepted() {
    for hops in 1..=8 {
        let chain = Chain::new(NOW, &attesters(hops));
        let path = verify(&chain, &chain.preview().encode(), &policy()).unwrap();
        assert_eq!(path.hops.len(), hops);
        assert_eq!(path.end, PathEnd::Terminal(TerminalKind::Workload));
        for (hop, made) in path.hops.iter().zip(&chain.hops) {
            assert_eq!((hop.kid, hop.leg, &hop.role), (made.key.kid(), made.leg, &made.role));
        }
    }
}

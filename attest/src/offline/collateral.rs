//! What lies beside the evidence: Intel's collateral, AMD's certificates and CRLs.

use x509_parser::pem::Pem;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::{Input, InputError};
use crate::Timestamp;
use crate::appraise::snp::AmdSet;
use crate::appraise::{Collateral, parse};
use crate::evidence::SnpEndorsements;

/// The files beside a piece of evidence, read and not believed.
#[derive(Clone, Debug, Default)]
pub struct OfflineCollateral {
    pub(super) intel: Vec<Collateral>,
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) crls: Vec<Vec<u8>>,
    now: Option<Timestamp>,
}

impl OfflineCollateral {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file: JSON in the form of dcap-qvl's `QuoteCollateralV3`, bare or as `{"now", "collateral"}`; a set of AMD's;
    /// a bundle of such sets; or certificates and CRLs in PEM; or one of them in DER.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), InputError> {
        if bytes.len() > Input::MAX_LEN {
            return Err(InputError::TooLarge { size: bytes.len(), max: Input::MAX_LEN });
        }
        match bytes.trim_ascii().first() {
            None => Err(InputError::Empty),
            Some(b'{') => self.add_json(bytes),
            Some(0x30) => self.add_der(bytes.to_vec()),
            Some(_) => self.add_pem(bytes),
        }
    }

    /// Adds certificates that came with the evidence.
    pub fn add_snp(&mut self, endorsements: &SnpEndorsements) {
        self.certificates.extend([endorsements.vcek.clone(), endorsements.ask.clone()]);
    }

    /// The time that a file of the form `{"now", "collateral"}` was kept for. Judging at it says what was true then.
    pub fn now(&self) -> Option<Timestamp> {
        self.now
    }

    fn add_json(&mut self, json: &[u8]) -> Result<(), InputError> {
        let wrong = |e: &dyn std::fmt::Display| InputError::Collateral(e.to_string());
        let value: serde_json::Value = serde_json::from_slice(json).map_err(|e| wrong(&e))?;
        if let Some(sets) = value["sets"].as_array() {
            for set in sets {
                self.add_json(set["collateral"].to_string().as_bytes())?;
            }
            return Ok(());
        }
        if value["set"].is_string() {
            let AmdSet { ask, crl, certificates, .. } = AmdSet::from_json(json).map_err(|e| wrong(&e))?;
            self.certificates.extend(certificates);
            self.certificates.push(ask);
            self.crls.push(crl);
            return Ok(());
        }
        self.intel.push(Collateral::from_json(json).map_err(|e| wrong(&e))?);
        self.now = self.now.or(value["now"].as_u64().map(Timestamp));
        Ok(())
    }

    fn add_pem(&mut self, bytes: &[u8]) -> Result<(), InputError> {
        let mut found = false;
        for block in Pem::iter_from_buffer(bytes) {
            let block = block.map_err(|e| InputError::Collateral(e.to_string()))?;
            match block.label.as_str() {
                "CERTIFICATE" | "X509 CRL" => self.add_der(block.contents)?,
                other => return Err(InputError::Collateral(format!("a PEM block {}", other.escape_debug()))),
            }
            found = true;
        }
        if found { Ok(()) } else { Err(InputError::Collateral("neither JSON, nor PEM, nor DER".into())) }
    }

    fn add_der(&mut self, der: Vec<u8>) -> Result<(), InputError> {
        if parse(&der).is_ok() {
            self.certificates.push(der);
        } else if matches!(CertificateRevocationList::from_der(&der), Ok(([], _))) {
            self.crls.push(der);
        } else {
            return Err(InputError::Collateral("DER that is neither a certificate nor a CRL".into()));
        }
        Ok(())
    }

    /// Every certificate of a VCEK or VLEK with every CA that bears its issuer's name.
    pub(super) fn snp_chains(&self) -> Vec<SnpEndorsements> {
        let parsed: Vec<_> = self.certificates.iter().filter_map(|der| Some((der, parse(der).ok()?))).collect();
        let mut chains = Vec::new();
        for (vcek, leaf) in parsed.iter().filter(|(_, certificate)| !certificate.is_ca()) {
            for (ask, ca) in parsed.iter().filter(|(_, certificate)| certificate.is_ca()) {
                if leaf.issuer().as_raw() == ca.subject().as_raw() {
                    chains.push(SnpEndorsements { vcek: vcek.to_vec(), ask: ask.to_vec() });
                }
            }
        }
        chains
    }
}

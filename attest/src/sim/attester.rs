//! The attester of a simulated platform.

use std::sync::Arc;

use super::collateral::PCE_ID;
use super::pck::PckPlatform;
use super::pki::{PckCertificate, pem_chain, serial};
use super::quote::{PCE_SVN, QuotingEnclave};
use super::spec::Svns;
use super::{SimError, SimPlatform, SimSpec, derive, fmspc};
use crate::Timestamp;
use crate::attester::{Attester, AttesterError};
use crate::evidence::UserData;
use crate::tee::{EvidenceTag, Tee};

/// Makes quotes in the name of a simulated platform.
#[derive(Debug)]
pub struct SimAttester {
    spec: SimSpec,
    svns: Svns,
    cpu_svn: [u8; 16],
    quoting_enclave: QuotingEnclave,
    pck_serial: [u8; 16],
}

impl SimAttester {
    /// A process's own quoting enclave: its attestation key is made here and lives in memory only.
    pub fn new(platform: &Arc<SimPlatform>, spec: SimSpec) -> Result<Self, SimError> {
        let keys = platform.keys.as_ref().ok_or(SimError::NoKeys)?;
        let root = &platform.public.root_der;
        let svns = spec.svns()?;

        // Under SGX the platform's own SVN tells the levels apart; under TDX that of the TD's report does.
        let mut cpu_svn = [1; 16];
        if spec.tee() == Tee::Sgx {
            cpu_svn[0] = svns.launch;
        }
        let extension = PckPlatform {
            ppid: platform.machine_id(&spec.machine),
            instance_id: derive("instance", root, &spec.machine),
            cpu_svn,
            pce_svn: PCE_SVN,
            pce_id: PCE_ID,
            fmspc: fmspc(root),
            dynamic: spec.dynamic_platform,
            cached_keys: spec.cached_keys,
            smt: spec.smt,
        }
        .to_der();
        let (begin, end) = keys.pck_ca.validity()?;
        let pck_serial = serial(&extension);
        let pck =
            keys.pck_ca.issue_pck(&PckCertificate { key: &keys.pck, serial: pck_serial, extension, begin, end })?;
        let chain = pem_chain(&[&pck, &keys.pck_ca.der, root]);
        let quoting_enclave = QuotingEnclave::new(spec.format, svns.qe, cpu_svn, &keys.pck, chain)?;
        Ok(Self { spec, svns, cpu_svn, quoting_enclave, pck_serial })
    }

    pub fn spec(&self) -> &SimSpec {
        &self.spec
    }

    /// The serial number of the platform's PCK certificate, for [`super::CollateralSpec::revoked_pcks`].
    pub fn pck_serial(&self) -> &[u8] {
        &self.pck_serial
    }

    pub(crate) fn quote_over(&self, user_data: &[u8; 64]) -> Result<Vec<u8>, SimError> {
        self.quoting_enclave.quote(&self.spec, &self.svns, self.cpu_svn, user_data)
    }
}

impl Attester for SimAttester {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn tag(&self) -> EvidenceTag {
        EvidenceTag::Simulated
    }

    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        self.quote_over(user_data.as_bytes())
            .map_err(|error| AttesterError::Answer { attester: "sim", what: error.to_string() })
    }
}

/// The window of a certificate of ours.
impl super::pki::Authority {
    fn validity(&self) -> Result<(Timestamp, Timestamp), SimError> {
        crate::appraise::certificate_window(&self.der).map_err(SimError::Collateral)
    }
}

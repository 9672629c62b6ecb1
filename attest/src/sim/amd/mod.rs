//! The simulated AMD: a root, a CA, a revocation list, and chips whose firmware signs reports.
//!
//! Everything has AMD's form, under roots and names of its own; evidence of it bears the simulated tag.

mod der;
mod keys;

#[cfg(test)]
pub(crate) use der::{amd_oid, extension, integer};
pub(crate) use keys::{AmdKeys, CaSpec, VekSpec};

use std::sync::Arc;

use super::spec::bytes;
use super::{BACKDATE, CERTIFICATE_VALIDITY, COLLATERAL_VALIDITY, SimError, SimPlatform, derive};
use crate::Timestamp;
use crate::appraise::Root;
use crate::appraise::snp::{AmdRoot, AmdSet, AmdSetId, SigningKey, SnpProduct};
use crate::attester::{Attester, AttesterError};
use crate::evidence::{Endorsements, SnpEndorsements, UserData};
use crate::policy::{Field, FieldValue};
use crate::tee::EvidenceTag;

/// What stands for AMD: all that a verifier needs, and (where they are at hand) the keys.
#[derive(Debug)]
pub struct SimAmd {
    pub(crate) root: AmdRoot,
    /// Without certificates of chips: those are made as they are asked for.
    pub(crate) set: AmdSet,
    pub(crate) keys: Option<AmdKeys>,
}

/// What a simulated guest claims to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SimSnpSpec {
    pub measurement: [u8; 48],
    pub host_data: [u8; 32],
    /// Of the guest's ID block, with the version in `guest_svn`.
    pub id_key_digest: [u8; 48],
    pub author_key_digest: [u8; 48],
    pub family_id: [u8; 16],
    pub image_id: [u8; 16],
    pub guest_svn: u32,
    /// GUEST_POLICY, without DEBUG.
    pub guest_policy: u64,
    pub vmpl: u32,
    pub debug: bool,
    /// Firmware that is newer than the committed one runs, so that the status is `ConfigurationNeeded`.
    pub provisional: bool,
    /// The name of the machine: reports of one name come from one chip.
    pub machine: String,
    /// Whether the host hands out the certificates above its reports. Without them peers ask the key service.
    pub certificates: bool,
}

/// Makes reports in the name of a simulated chip.
#[derive(Debug)]
pub struct SimSnpAttester {
    platform: Arc<SimPlatform>,
    spec: SimSnpSpec,
    chip_id: [u8; 64],
    endorsements: Option<SnpEndorsements>,
}

impl SimAmd {
    pub(super) fn generate(now: Timestamp) -> Result<Self, SimError> {
        Self::from_keys(AmdKeys::generate()?, now)
    }

    /// The same roots and keys with a list that begins now.
    pub(super) fn renew(self, now: Timestamp) -> Result<Self, SimError> {
        let crl = self.crl(false, now)?;
        Ok(Self { set: AmdSet { crl, ..self.set }, ..self })
    }

    pub(crate) fn from_keys(keys: AmdKeys, now: Timestamp) -> Result<Self, SimError> {
        let window = certificates(now);
        let root = AmdRoot { product: PRODUCT, der: keys.root(PRODUCT, window)?, root: Root::Simulated };
        let id = AmdSetId { product: PRODUCT, key: SigningKey::Vcek };
        let ask = keys.ca(&CaSpec::new(id.product, id.key, window))?;
        let crl = keys.crl(PRODUCT, false, list(now))?;
        Ok(Self { root, set: AmdSet { id, ask, crl, certificates: Vec::new() }, keys: Some(keys) })
    }

    /// To be handed to [`crate::appraise::TrustRoots::with_simulated_amd`].
    pub fn root(&self) -> &AmdRoot {
        &self.root
    }

    /// The CA and the list of revoked ones, as the key service hands them out.
    pub fn set(&self) -> &AmdSet {
        &self.set
    }

    /// The certificate of a chip's key. Needs the keys.
    pub fn vcek(&self, chip_id: &[u8; 64], tcb: [u8; 8], now: Timestamp) -> Result<Vec<u8>, SimError> {
        let keys = self.keys.as_ref().ok_or(SimError::NoKeys)?;
        keys.vek(&VekSpec::new(PRODUCT, SigningKey::Vcek, chip_id, tcb, certificates(now)))
    }

    /// A list of another making: issued at another time, or with the CA on it. Needs the keys.
    pub fn crl(&self, revoked: bool, issued: Timestamp) -> Result<Vec<u8>, SimError> {
        self.keys.as_ref().ok_or(SimError::NoKeys)?.crl(PRODUCT, revoked, list(issued))
    }
}

impl SimSnpSpec {
    /// A guest whose measurement is derived from a label, commonly the program's name.
    pub fn new(label: &str) -> Self {
        let mut measurement = [0; 48];
        let parts = ["snp", "snp/tail"].map(|name| crate::Digest::of_parts(&[name.as_bytes(), b"/", label.as_bytes()]));
        measurement[..32].copy_from_slice(parts[0].as_bytes());
        measurement[32..].copy_from_slice(&parts[1].as_bytes()[..16]);
        Self {
            measurement,
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            family_id: [0; 16],
            image_id: [0; 16],
            guest_svn: 0,
            guest_policy: POLICY,
            vmpl: 0,
            debug: false,
            provisional: false,
            machine: "machine".into(),
            certificates: true,
        }
    }
}

impl SimSnpSpec {
    /// States `value` in `field`.
    pub fn set(&mut self, field: Field, value: &FieldValue) -> Result<(), SimError> {
        let refused = |what| Err(SimError::Field { field: field.name(), what });
        let done = match (field, value) {
            (Field::SnpMeasurement, FieldValue::Bytes(b)) => bytes(&mut self.measurement, b),
            (Field::HostData, FieldValue::Bytes(b)) => bytes(&mut self.host_data, b),
            (Field::IdKeyDigest, FieldValue::Bytes(b)) => bytes(&mut self.id_key_digest, b),
            (Field::AuthorKeyDigest, FieldValue::Bytes(b)) => bytes(&mut self.author_key_digest, b),
            (Field::FamilyId, FieldValue::Bytes(b)) => bytes(&mut self.family_id, b),
            (Field::ImageId, FieldValue::Bytes(b)) => bytes(&mut self.image_id, b),
            (Field::GuestSvn, FieldValue::Number(n)) => u32::try_from(*n).map(|n| self.guest_svn = n).is_ok(),
            (Field::GuestPolicy, FieldValue::Number(n)) => {
                self.guest_policy = *n;
                true
            }
            (Field::Vmpl, FieldValue::Number(n)) => u32::try_from(*n).map(|n| self.vmpl = n).is_ok(),
            _ => return refused("is no field of a simulated guest, or has another kind of value"),
        };
        if done { Ok(()) } else { refused("does not hold such a value") }
    }
}

impl SimSnpAttester {
    /// Blocks for a signature where the host hands out certificates.
    pub fn new(platform: &Arc<SimPlatform>, spec: SimSnpSpec, now: Timestamp) -> Result<Self, SimError> {
        let amd = amd(platform)?;
        let chip_id = platform.chip_id(&spec.machine);
        let vcek = spec.certificates.then(|| amd.vcek(&chip_id, TCB, now)).transpose()?;
        let endorsements = vcek.map(|vcek| SnpEndorsements { vcek, ask: amd.set.ask.clone() });
        if amd.keys.is_none() {
            return Err(SimError::NoKeys);
        }
        Ok(Self { platform: Arc::clone(platform), spec, chip_id, endorsements })
    }

    pub(crate) fn report(&self, user_data: &[u8; 64]) -> Result<Vec<u8>, SimError> {
        let keys = amd(&self.platform)?.keys.as_ref().ok_or(SimError::NoKeys)?;
        let mut report = [0; 1184];
        let mut put = |offset: usize, bytes: &[u8]| report[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(0x00, &3u32.to_le_bytes());
        let debug = if self.spec.debug { POLICY_DEBUG } else { 0 };
        put(0x04, &self.spec.guest_svn.to_le_bytes());
        put(0x08, &(self.spec.guest_policy | debug).to_le_bytes());
        put(0x10, &self.spec.family_id);
        put(0x20, &self.spec.image_id);
        put(0x30, &self.spec.vmpl.to_le_bytes());
        put(0x34, &1u32.to_le_bytes());
        for offset in [0x38, 0x180, 0x1E0, 0x1F0] {
            put(offset, &TCB);
        }
        if self.spec.provisional {
            put(0x38 + 6, &[TCB[6] + 1]);
        }
        put(0x40, &1u64.to_le_bytes());
        put(0x50, user_data);
        put(0x90, &self.spec.measurement);
        put(0xC0, &self.spec.host_data);
        put(0xE0, &self.spec.id_key_digest);
        put(0x110, &self.spec.author_key_digest);
        put(0x160, &[0xFF; 32]);
        put(0x188, &[0x19, 0x01, 0x01]);
        put(0x1A0, &self.chip_id);
        keys.sign_report(&mut report)?;
        Ok(report.to_vec())
    }
}

impl Attester for SimSnpAttester {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn tag(&self) -> EvidenceTag {
        EvidenceTag::Simulated
    }

    fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
        self.report(user_data.as_bytes())
            .map_err(|error| AttesterError::Answer { attester: "sim", what: error.to_string() })
    }

    fn endorsements(&self) -> Option<Endorsements> {
        self.endorsements.clone().map(Endorsements::SimulatedSnp)
    }
}

impl SimPlatform {
    /// The identifier of the machine of that name where it is an AMD's: what an `identity` rule of a policy pins.
    pub fn chip_id(&self, machine: &str) -> [u8; 64] {
        let mut chip_id = [0; 64];
        for (i, part) in chip_id.chunks_exact_mut(16).enumerate() {
            part.copy_from_slice(&derive(&format!("chip{i}"), &self.public.root_der, machine));
        }
        chip_id
    }
}

fn amd(platform: &SimPlatform) -> Result<&SimAmd, SimError> {
    platform.amd.as_ref().ok_or(SimError::NoAmd)
}

fn certificates(now: Timestamp) -> (Timestamp, Timestamp) {
    (Timestamp(now.0.saturating_sub(BACKDATE.as_secs())), now.plus(CERTIFICATE_VALIDITY))
}

fn list(issued: Timestamp) -> (Timestamp, Timestamp) {
    let issued = Timestamp(issued.0.saturating_sub(BACKDATE.as_secs()));
    (issued, issued.plus(COLLATERAL_VALIDITY))
}

/// What is simulated.
pub(crate) const PRODUCT: SnpProduct = SnpProduct::Milan;

/// Bootloader 3, TEE 0, SNP 8, microcode 115.
const TCB: [u8; 8] = [3, 0, 0, 0, 0, 0, 8, 115];

/// Reserved bit 17, which is one, and SMT allowed.
const POLICY: u64 = 0x3_0000;
const POLICY_DEBUG: u64 = 1 << 19;

#[cfg(test)]
mod tests;

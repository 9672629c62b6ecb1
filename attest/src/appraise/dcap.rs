//! The library that verifies Intel's quotes, and what it leaves open.
//!
//! Ours: the exact length of the quote, the pceId, which root and whose collateral, typed errors. Everything that a
//! relying party may see differently (debug, TCB status, flags, measurements) is left to the policy.

use std::fmt;

use dcap_qvl::config::{Config, CryptoProvider, ParsedCert as _, X509Codec as _};
use dcap_qvl::intel::{extract_cert_chain, parse_pck_extension_with};
use dcap_qvl::quote::{AuthData, EnclaveReport, Quote, Report, TDReport10};
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::x509::X509CertBackend;
use dcap_qvl::{PckCertFlag, QuoteClaims, QuotePolicy};
use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::refusal;
use super::roots::SIMULATED_ORGANIZATION;
use super::{
    AppraisalError, Appraised, CodeIdentity, Collateral, CollateralId, Platform, Root, SgxIdentity, TcbStatus,
    TdxIdentity,
};
use crate::evidence::Quoted;
use crate::tee::{EvidenceTag, Tee};
use crate::{Reason, Timestamp, crypto};

/// Which collateral a piece of evidence needs. Nothing is verified yet: the peer may say what it likes.
pub fn collateral_id(evidence: &Quoted) -> Result<CollateralId, AppraisalError> {
    ParsedQuote::parse(evidence.tag(), evidence.quote()).map(|quote| quote.id)
}

/// A quote that has the right form and the right tag.
pub(crate) struct ParsedQuote<'a> {
    bytes: &'a [u8],
    pub(crate) root: Root,
    pub(crate) id: CollateralId,
}

impl<'a> ParsedQuote<'a> {
    pub(crate) fn parse(tag: EvidenceTag, bytes: &'a [u8]) -> Result<Self, AppraisalError> {
        let root = match tag {
            EvidenceTag::IntelQuote => Root::Intel,
            EvidenceTag::Simulated => Root::Simulated,
            EvidenceTag::SevSnp | EvidenceTag::Null => {
                return Err(form("the kind of evidence", "an Intel quote", format!("{tag:?}")));
            }
        };
        let quote = Quote::parse(bytes).map_err(|e| form("quote", "an SGX or TDX quote", format!("{e:#}")))?;
        check_length(&quote, bytes)?;

        let chain = extract_cert_chain(&quote).map_err(|e| {
            form("PCK certificate", "the chain in the quote (certification data type 5)", format!("{e:#}"))
        })?;
        let leaf = chain.first().ok_or_else(|| form("PCK certificate", "the chain in the quote", "none"))?;
        check_origin(root, leaf)?;

        let ca = X509CertBackend::from_der(leaf)
            .map_err(unreadable)?
            .pck_ca()
            .ok_or_else(|| form("the issuer of the PCK certificate", "a Processor CA or Platform CA", "neither"))?;
        let fmspc = parse_pck_extension_with::<QuoteConfig>(leaf).map_err(unreadable)?.fmspc;
        let tee = if quote.report.is_sgx() { Tee::Sgx } else { Tee::Tdx };
        Ok(Self { bytes, root, id: CollateralId { tee, fmspc, ca } })
    }

    /// Verifies the quote against a root and collateral of that root.
    pub(super) fn appraise(
        &self,
        root_der: &[u8],
        collateral: &Collateral,
        now: Timestamp,
    ) -> Result<Appraised, AppraisalError> {
        if collateral.id() != self.id {
            let reason = if collateral.id().tee == self.id.tee { Reason::Collateral } else { Reason::Tee };
            return Err(AppraisalError::new(
                reason,
                "the collateral for the quote",
                self.id.to_string(),
                collateral.id().to_string(),
            ));
        }
        let claims = QuoteVerifier::<QuoteConfig>::new_with_config(root_der.to_vec())
            .allow_debug(true)
            .verify_with_policy(self.bytes, collateral.as_set(), now.0, &QuotePolicy::claims_only(now.0))
            .map_err(|error| refusal::of(&error, collateral, root_der, now))?;

        let pce_id = &claims.platform.pck.pce_id;
        if pce_id != collateral.pce_id() {
            return Err(AppraisalError::new(
                Reason::Collateral,
                "the pceId of the TCB info",
                hex::encode(pce_id),
                hex::encode(collateral.pce_id()),
            ));
        }
        Ok(appraised(&claims, self.root, collateral, now))
    }
}

/// The library reads on where a quote ends, and lets bytes stand behind the parts of its signature. Such bytes are
/// covered by no signature: whoever carries the evidence could change them.
fn check_length(quote: &Quote, bytes: &[u8]) -> Result<(), AppraisalError> {
    let tail = |auth: usize, chain: usize| QE_REPORT + SIGNATURE + LENGTH_16 + auth + TYPED + chain;
    let auth = match &quote.auth_data {
        AuthData::V3(data) => {
            SIGNATURE + PUBLIC_KEY + tail(data.qe_auth_data.data.len(), data.certification_data.body.data.len())
        }
        AuthData::V4(data) => {
            let inner = &data.qe_report_data;
            let length = tail(inner.qe_auth_data.data.len(), inner.certification_data.body.data.len());
            let outer = data.certification_data.body.data.len();
            if outer != length {
                return Err(form("QE report certification data", format!("{length} bytes"), format!("{outer} bytes")));
            }
            SIGNATURE + PUBLIC_KEY + TYPED + length
        }
    };
    let length = quote.signed_length() + LENGTH_32 + auth;
    if bytes.len() != length {
        return Err(form("the length of the quote", format!("{length} bytes"), format!("{} bytes", bytes.len())));
    }
    Ok(())
}

/// The tag says which root the quote is to be checked with. A quote under the wrong one would fail on a signature;
/// this says what is going on.
fn check_origin(root: Root, leaf: &[u8]) -> Result<(), AppraisalError> {
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|e| form("PCK certificate", "an X.509 certificate", e.to_string()))?;
    let issuer = certificate.issuer().to_string();
    let simulated = issuer.contains(SIMULATED_ORGANIZATION);
    match (root, simulated) {
        (Root::Intel, true) => Err(AppraisalError::new(
            Reason::Simulated,
            "simulated evidence under the tag of genuine evidence",
            "a quote under Intel's root",
            format!("one under `{issuer}`"),
        )),
        (Root::Simulated, false) => Err(AppraisalError::new(
            Reason::Simulated,
            "genuine evidence under the tag of simulated evidence",
            "a quote of a simulated platform",
            format!("one under `{issuer}`"),
        )),
        _ => Ok(()),
    }
}

fn appraised(claims: &QuoteClaims, root: Root, collateral: &Collateral, now: Timestamp) -> Appraised {
    let (code, debug) = match &claims.report {
        Report::SgxEnclave(report) => sgx(report),
        Report::TD10(report) => tdx(report),
        Report::TD15(report) => tdx(&report.base),
        Report::TD15Ex(report) => tdx(&report.base.base),
    };
    let mut advisories = claims.tcb.advisory_ids.clone();
    for advisory in claims.platform.current_tcb_level.iter().flat_map(|level| &level.advisory_ids) {
        if !advisories.contains(advisory) {
            advisories.push(advisory.clone());
        }
    }
    let pck = &claims.platform.pck;
    let instance = pck.platform_instance_id.map(|id| id.to_vec());
    let ids = std::iter::once(pck.ppid.clone()).chain(instance).filter(|id| id.iter().any(|b| *b != 0)).collect();
    Appraised {
        tee: collateral.id().tee,
        root,
        code,
        debug,
        tcb_status: status(claims.tcb.status),
        tcb_date: tcb_date(claims),
        advisories,
        platform: Platform {
            ids,
            smt: flag(pck.smt_enabled),
            dynamic: flag(pck.dynamic_platform),
            cached_keys: flag(pck.cached_keys),
            snp: None,
        },
        collateral: collateral.digest(),
        revocation_checked: true,
        appraised_at: now,
        expires: Timestamp(claims.earliest_expiration_date),
    }
}

fn sgx(report: &EnclaveReport) -> (CodeIdentity, bool) {
    let identity = SgxIdentity {
        mrenclave: report.mr_enclave,
        mrsigner: report.mr_signer,
        isv_prod_id: report.isv_prod_id,
        isv_svn: report.isv_svn,
        attributes: report.attributes,
        misc_select: report.misc_select,
        config_id: part(&report.reserved3, 32),
        config_svn: u16::from_le_bytes(part(&report.reserved4, 0)),
        isv_family_id: part(&report.reserved4, 44),
        isv_ext_prod_id: part(&report.reserved1, 12),
    };
    (CodeIdentity::Sgx(identity), report.attributes[0] & SGX_DEBUG != 0)
}

/// A field of key separation and sharing (Intel SDM volume 3D, REPORT), which the library leaves among what is reserved.
/// Offset and length are constants within it.
fn part<const N: usize>(reserved: &[u8], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&reserved[offset..offset + N]);
    field
}

fn tdx(report: &TDReport10) -> (CodeIdentity, bool) {
    let identity = TdxIdentity {
        mrtd: report.mr_td,
        rtmr: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3],
        mrconfigid: report.mr_config_id,
        mrowner: report.mr_owner,
        mrownerconfig: report.mr_owner_config,
        mrseam: report.mr_seam,
        mrsignerseam: report.mr_signer_seam,
        td_attributes: report.td_attributes,
        xfam: report.xfam,
        tee_tcb_svn: report.tee_tcb_svn,
    };
    // TUD, "TD under debug": bit 0 is DEBUG, 4 to 6 are profiling; any of them opens the TD to the host.
    (CodeIdentity::Tdx(Box::new(identity)), report.td_attributes[0] != 0)
}

/// The oldest date among the components that are out of date; the platform's if none is.
fn tcb_date(claims: &QuoteClaims) -> Timestamp {
    use dcap_qvl::TcbStatus::{OutOfDate, OutOfDateConfigurationNeeded};
    let outdated = |status| matches!(status, OutOfDate | OutOfDateConfigurationNeeded);
    let platform = Timestamp(claims.platform.tcb_date_tag);
    // A date that cannot be read counts as the oldest: no grace.
    let qe = claims.qe.tcb_level.tcb_date.parse().unwrap_or(Timestamp(0));
    match (outdated(claims.platform.tcb_level.tcb_status), outdated(claims.qe.tcb_level.tcb_status)) {
        (true, true) => platform.min(qe),
        (false, true) => qe,
        (_, false) => platform,
    }
}

fn status(status: dcap_qvl::TcbStatus) -> TcbStatus {
    use dcap_qvl::TcbStatus as Library;
    match status {
        Library::UpToDate => TcbStatus::UpToDate,
        Library::SWHardeningNeeded => TcbStatus::SWHardeningNeeded,
        Library::ConfigurationNeeded => TcbStatus::ConfigurationNeeded,
        Library::ConfigurationAndSWHardeningNeeded => TcbStatus::ConfigurationAndSWHardeningNeeded,
        Library::TDRelaunchAdvised => TcbStatus::TDRelaunchAdvised,
        Library::TDRelaunchAdvisedConfigurationNeeded => TcbStatus::TDRelaunchAdvisedConfigurationNeeded,
        Library::OutOfDate => TcbStatus::OutOfDate,
        Library::OutOfDateConfigurationNeeded => TcbStatus::OutOfDateConfigurationNeeded,
        Library::Revoked => TcbStatus::Revoked,
    }
}

fn flag(flag: PckCertFlag) -> Option<bool> {
    match flag {
        PckCertFlag::True => Some(true),
        PckCertFlag::False => Some(false),
        PckCertFlag::Undefined => None,
    }
}

/// dcap-qvl's audited parsers with the cryptography that everything here uses.
struct QuoteConfig;

impl Config for QuoteConfig {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Crypto;
}

struct Crypto;

impl CryptoProvider for Crypto {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        crypto::ECDSA_P256_SHA256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        crypto::sha256(data)
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        crypto::sha384(data)
    }
}

/// Of the library's errors, which say it in words alone.
fn unreadable(error: impl fmt::Display) -> AppraisalError {
    form("PCK certificate", "one of Intel's form", format!("{error:#}"))
}

fn form(what: &str, expected: impl Into<String>, found: impl Into<String>) -> AppraisalError {
    AppraisalError::new(Reason::EvidenceForm, what, expected, found)
}

const SGX_DEBUG: u8 = 0x02;
const SIGNATURE: usize = 64;
const PUBLIC_KEY: usize = 64;
const QE_REPORT: usize = 384;
const LENGTH_16: usize = 2;
const LENGTH_32: usize = 4;
/// u16 type and u32 length in front of certification data.
const TYPED: usize = 6;

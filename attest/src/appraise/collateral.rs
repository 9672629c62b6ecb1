//! Collateral: what Intel says of a model of platform, and when it stops being true.

use std::fmt;

use dcap_qvl::config::PckCa;
use dcap_qvl::{QeIdentity, QuoteCollateralV3, TcbInfo};
use x509_parser::prelude::X509Certificate;

use super::AppraisalError;
use super::x509::{Issuer, certificate_window, crl_window, not_revoked, parse, parse_crl, pem_certificates, within};
use crate::crypto::{Scheme, verifies};
use crate::tee::Tee;
use crate::{CollateralDigest, Digest, Reason, Timestamp};

/// One whole set of collateral: TCB info, QE identity, CRLs and their chains. Parsed and consistent in itself
/// (all of it for one TEE); its signatures are verified by [`Collateral::verify`] and again in every appraisal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collateral {
    set: QuoteCollateralV3,
    id: CollateralId,
    digest: CollateralDigest,
    epoch: Epoch,
    expires: Timestamp,
    pce_id: Vec<u8>,
}

/// What collateral is for: one model of platform, one CA, one kind of TEE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CollateralId {
    pub tee: Tee,
    pub fmspc: [u8; 6],
    pub ca: PckCa,
}

/// How new collateral is; `Ord` goes from old to new.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Epoch {
    /// Intel's `tcbEvaluationDataNumber`: it rises with every TCB recovery.
    pub number: u32,
    pub issued: Timestamp,
}

impl Collateral {
    /// The PCK chain that some services add to a set is dropped: a quote brings its own, and a shared set must not
    /// put one platform's certificate in the place of another's.
    pub fn new(set: QuoteCollateralV3) -> Result<Self, AppraisalError> {
        let set = QuoteCollateralV3 { pck_certificate_chain: None, ..set };
        let tcb_info: TcbInfo = serde_json::from_str(&set.tcb_info).map_err(|e| bad("TCB info", e))?;
        let qe_identity: QeIdentity = serde_json::from_str(&set.qe_identity).map_err(|e| bad("QE identity", e))?;
        let (tee, qe_id) = match tcb_info.id.as_str() {
            "SGX" => (Tee::Sgx, "QE"),
            "TDX" => (Tee::Tdx, "TD_QE"),
            other => return Err(bad("TCB info", format!("`{other}`, which is neither SGX nor TDX"))),
        };
        if qe_identity.id != qe_id {
            return Err(AppraisalError::new(Reason::Tee, "the QE identity beside the TCB info", qe_id, qe_identity.id));
        }
        let fmspc = fixed::<6>("FMSPC", &tcb_info.fmspc)?;
        let pce_id = fixed::<2>("pceId", &tcb_info.pce_id)?.to_vec();

        let pck_crl = parse_crl(&set.pck_crl)?;
        let issuer = pck_crl.issuer().to_string();
        let ca = match (issuer.contains("Processor"), issuer.contains("Platform CA")) {
            (true, false) => PckCa::Processor,
            (false, true) => PckCa::Platform,
            _ => return Err(bad("PCK CRL", format!("issued by {issuer}, which is no PCK CA"))),
        };

        let mut issued = Timestamp(0);
        let mut expires = Timestamp(u64::MAX);
        let documents = [
            (&tcb_info.issue_date, &tcb_info.next_update, "TCB info"),
            (&qe_identity.issue_date, &qe_identity.next_update, "QE identity"),
        ];
        for (begin, end, what) in documents {
            issued = issued.max(begin.parse().map_err(|e| bad(what, e))?);
            expires = expires.min(end.parse().map_err(|e| bad(what, e))?);
        }
        for crl in [&pck_crl, &parse_crl(&set.root_ca_crl)?] {
            expires = expires.min(crl_window(crl)?.1);
        }
        for chain in [&set.pck_crl_issuer_chain, &set.tcb_info_issuer_chain, &set.qe_identity_issuer_chain] {
            for der in pem_certificates(chain)? {
                expires = expires.min(certificate_window(&der)?.1);
            }
        }

        let number = tcb_info.tcb_evaluation_data_number.min(qe_identity.tcb_evaluation_data_number);
        Ok(Self {
            digest: digest(&set),
            id: CollateralId { tee, fmspc, ca },
            epoch: Epoch { number, issued },
            expires,
            pce_id,
            set,
        })
    }

    /// Reads the JSON form of dcap-qvl's `QuoteCollateralV3`, bare or as `{"now": ..., "collateral": ...}`.
    pub fn from_json(json: &[u8]) -> Result<Self, AppraisalError> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Bare(QuoteCollateralV3),
            Dated { collateral: QuoteCollateralV3 },
        }
        // An untagged enum says only that nothing fitted; what is wrong with the bare form is worth saying.
        match serde_json::from_slice(json) {
            Ok(Form::Bare(set) | Form::Dated { collateral: set }) => Self::new(set),
            Err(_) => Err(bad(
                "collateral",
                serde_json::from_slice::<QuoteCollateralV3>(json).err().map_or("other JSON".into(), |e| e.to_string()),
            )),
        }
    }

    /// The JSON form of dcap-qvl's `QuoteCollateralV3`.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.set).expect("strings and byte strings always have a JSON form")
    }

    /// Verifies the whole set against a root: chains, signatures, CRLs, and that all of it is valid now.
    pub fn verify(&self, root_der: &[u8], now: Timestamp) -> Result<(), AppraisalError> {
        let root = Issuer::root(root_der)?;
        let root_crl = root.lists("root CA CRL", &self.set.root_ca_crl, now)?;

        let chain = pem_certificates(&self.set.pck_crl_issuer_chain)?;
        let ca_der = chain.first().ok_or_else(|| bad("PCK CRL issuer chain", "no certificate"))?;
        let ca = root.ca("PCK CA", ca_der, now)?;
        not_revoked("PCK CA", &parse(ca_der)?, &root_crl)?;
        ca.lists("PCK CRL", &self.set.pck_crl, now)?;

        let tcb_info: TcbInfo = serde_json::from_str(&self.set.tcb_info).map_err(|e| bad("TCB info", e))?;
        let qe_identity: QeIdentity = serde_json::from_str(&self.set.qe_identity).map_err(|e| bad("QE identity", e))?;
        let documents = [
            Document {
                what: "TCB info",
                text: &self.set.tcb_info,
                signature: &self.set.tcb_info_signature,
                chain: &self.set.tcb_info_issuer_chain,
                window: (&tcb_info.issue_date, &tcb_info.next_update),
            },
            Document {
                what: "QE identity",
                text: &self.set.qe_identity,
                signature: &self.set.qe_identity_signature,
                chain: &self.set.qe_identity_issuer_chain,
                window: (&qe_identity.issue_date, &qe_identity.next_update),
            },
        ];
        for document in &documents {
            let chain = pem_certificates(document.chain)?;
            let signer_der = chain.first().ok_or_else(|| bad(document.what, "no certificate of its signer"))?;
            let signer = root.certifies("TCB signer", signer_der, now)?;
            not_revoked("TCB signer", &signer, &root_crl)?;
            if signer.is_ca() {
                return Err(bad("TCB signer", "a CA: one of those signs certificates alone"));
            }
            document.verify(&signer, now)?;
        }
        Ok(())
    }

    pub fn id(&self) -> CollateralId {
        self.id
    }

    pub fn digest(&self) -> CollateralDigest {
        self.digest
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The earliest end of its parts: every `nextUpdate`, every certificate.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    pub fn as_set(&self) -> &QuoteCollateralV3 {
        &self.set
    }

    /// The PCE that the TCB info speaks of.
    pub(super) fn pce_id(&self) -> &[u8] {
        &self.pce_id
    }
}

/// A signed JSON document with its chain.
struct Document<'a> {
    what: &'static str,
    text: &'a str,
    signature: &'a [u8],
    chain: &'a str,
    window: (&'a str, &'a str),
}

impl Document<'_> {
    fn verify(&self, signer: &X509Certificate<'_>, now: Timestamp) -> Result<(), AppraisalError> {
        let key = &signer.public_key().subject_public_key.data;
        if !verifies(Scheme::P256Sha256Fixed, key, self.text.as_bytes(), self.signature) {
            return Err(AppraisalError::new(
                Reason::Collateral,
                self.what,
                "signed by its signer",
                "another signature",
            ));
        }
        let (begin, end) = self.window;
        let begin = begin.parse().map_err(|e| bad(self.what, e))?;
        let end = end.parse().map_err(|e| bad(self.what, e))?;
        within(self.what, begin, end, now)
    }
}

impl fmt::Display for CollateralId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tee = match self.tee {
            Tee::Sgx => "sgx",
            Tee::Tdx => "tdx",
            Tee::SevSnp => "sev-snp",
            Tee::None => "none",
        };
        write!(f, "{tee}/{}/{}", hex::encode(self.fmspc), self.ca.as_id_str())
    }
}

/// Over every part with its length, so that no two sets share a digest.
fn digest(set: &QuoteCollateralV3) -> CollateralDigest {
    let parts: [&[u8]; 9] = [
        set.pck_crl_issuer_chain.as_bytes(),
        &set.root_ca_crl,
        &set.pck_crl,
        set.tcb_info_issuer_chain.as_bytes(),
        set.tcb_info.as_bytes(),
        &set.tcb_info_signature,
        set.qe_identity_issuer_chain.as_bytes(),
        set.qe_identity.as_bytes(),
        &set.qe_identity_signature,
    ];
    let hashes = parts.map(Digest::of);
    CollateralDigest(Digest::of_parts(&hashes.each_ref().map(|hash| &hash.as_bytes()[..])))
}

fn fixed<const N: usize>(what: &str, text: &str) -> Result<[u8; N], AppraisalError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|e| bad(what, format!("`{text}`: {e}")))?;
    Ok(bytes)
}

fn bad(what: &str, found: impl ToString) -> AppraisalError {
    AppraisalError::new(Reason::Collateral, what, "valid collateral", found.to_string())
}

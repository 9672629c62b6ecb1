//! Simulated collateral: TCB info v3 and QE identity v2, each signed over its exact bytes, with chains and CRLs.

use dcap_qvl::QuoteCollateralV3;
use serde_json::{Value, json};

use super::pki::pem_chain;
use super::quote::{
    PCE_SVN, TDX_LEVEL_COMPONENT, TDX_MODULE_ISVSVN, TDX_MODULE_MRSIGNER, TDX_MODULE_VERSION, qe_mrsigner, qe_prod_id,
};
use super::spec::svn;
use super::{BACKDATE, COLLATERAL_VALIDITY, QuoteFormat, SimError, SimKeys, fmspc};
use crate::Timestamp;
use crate::appraise::{Collateral, TcbStatus};
use crate::tee::Tee;

/// What collateral is to say. [`CollateralSpec::at`] is what a healthy service hands out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CollateralSpec {
    pub tee: Tee,
    /// The windows of TCB info and QE identity, and of the CRLs.
    pub issued: Timestamp,
    pub next_update: Timestamp,
    pub crl_issued: Timestamp,
    pub crl_next_update: Timestamp,
    /// Another platform than the simulated one.
    pub fmspc: Option<[u8; 6]>,
    pub pce_id: [u8; 2],
    /// Serial numbers of PCK certificates that the PCK CA has revoked.
    pub revoked_pcks: Vec<Vec<u8>>,
}

impl CollateralSpec {
    pub fn at(tee: Tee, now: Timestamp) -> Self {
        let issued = Timestamp(now.0.saturating_sub(BACKDATE.as_secs()));
        let next_update = issued.plus(COLLATERAL_VALIDITY);
        Self {
            tee,
            issued,
            next_update,
            crl_issued: issued,
            crl_next_update: next_update,
            fmspc: None,
            pce_id: PCE_ID,
            revoked_pcks: Vec::new(),
        }
    }
}

impl SimKeys {
    pub(super) fn collateral(&self, spec: &CollateralSpec) -> Result<Collateral, SimError> {
        let tdx = match spec.tee {
            Tee::Sgx => false,
            Tee::Tdx => true,
            other => return Err(SimError::Tee(other)),
        };
        let tcb_info = self.tcb_info(spec, tdx).to_string();
        let qe_identity = qe_identity(spec, tdx).to_string();
        let signer_chain = pem_chain(&[&self.tcb_signer.der, &self.root.der]);
        let set = QuoteCollateralV3 {
            pck_crl_issuer_chain: pem_chain(&[&self.pck_ca.der, &self.root.der]),
            root_ca_crl: self.root.crl(spec.crl_issued, spec.crl_next_update, &[])?,
            pck_crl: self.pck_ca.crl(spec.crl_issued, spec.crl_next_update, &spec.revoked_pcks)?,
            tcb_info_issuer_chain: signer_chain.clone(),
            tcb_info_signature: self.tcb_signer.key.sign(tcb_info.as_bytes())?.to_vec(),
            tcb_info,
            qe_identity_issuer_chain: signer_chain,
            qe_identity_signature: self.tcb_signer.key.sign(qe_identity.as_bytes())?.to_vec(),
            qe_identity,
            pck_certificate_chain: None,
        };
        Ok(Collateral::new(set)?)
    }

    fn tcb_info(&self, spec: &CollateralSpec, tdx: bool) -> Value {
        let levels: Vec<_> = LEVELS.iter().map(|level| tcb_level(level, spec.issued, tdx)).collect();
        let mut info = json!({
            "id": if tdx { "TDX" } else { "SGX" },
            "version": 3,
            "issueDate": spec.issued.to_string(),
            "nextUpdate": spec.next_update.to_string(),
            "fmspc": hex::encode_upper(spec.fmspc.unwrap_or_else(|| fmspc(&self.root.der))),
            "pceId": hex::encode_upper(spec.pce_id),
            "tcbType": 0,
            "tcbEvaluationDataNumber": TCB_EVALUATION_DATA_NUMBER,
            "tcbLevels": levels,
        });
        if tdx {
            let module = json!({
                "mrsigner": hex::encode_upper(TDX_MODULE_MRSIGNER),
                "attributes": "0000000000000000",
                "attributesMask": "FFFFFFFFFFFFFFFF",
            });
            let mut identity = module.clone();
            identity["id"] = json!(format!("TDX_{TDX_MODULE_VERSION:02X}"));
            identity["tcbLevels"] = json!([{
                "tcb": { "isvsvn": TDX_MODULE_ISVSVN },
                "tcbDate": date(spec.issued, TcbStatus::UpToDate),
                "tcbStatus": "UpToDate",
            }]);
            info["tdxModule"] = module;
            info["tdxModuleIdentities"] = json!([identity]);
        }
        info
    }
}

fn tcb_level((status, advisories): &(TcbStatus, &[&str]), issued: Timestamp, tdx: bool) -> Value {
    let component = |svn: u8| json!({ "svn": svn });
    let mut sgx = vec![component(1); 16];
    let mut tcb = json!({ "pcesvn": PCE_SVN });
    if tdx {
        let mut components = vec![component(1); 16];
        components[0] = component(TDX_MODULE_ISVSVN);
        components[TDX_LEVEL_COMPONENT] = component(svn(*status));
        tcb["tdxtcbcomponents"] = json!(components);
    } else {
        sgx[0] = component(svn(*status));
    }
    tcb["sgxtcbcomponents"] = json!(sgx);
    json!({
        "tcb": tcb,
        "tcbDate": date(issued, *status),
        "tcbStatus": status.name(),
        "advisoryIDs": advisories,
    })
}

fn qe_identity(spec: &CollateralSpec, tdx: bool) -> Value {
    let level = |status: TcbStatus, advisories: &[&str]| {
        json!({
            "tcb": { "isvsvn": svn(status) },
            "tcbDate": date(spec.issued, status),
            "tcbStatus": status.name(),
            "advisoryIDs": advisories,
        })
    };
    json!({
        "id": if tdx { "TD_QE" } else { "QE" },
        "version": 2,
        "issueDate": spec.issued.to_string(),
        "nextUpdate": spec.next_update.to_string(),
        "tcbEvaluationDataNumber": TCB_EVALUATION_DATA_NUMBER,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(qe_mrsigner()),
        "isvprodid": qe_prod_id(if tdx { QuoteFormat::TdxV4 } else { QuoteFormat::SgxV3 }),
        "tcbLevels": [
            level(TcbStatus::UpToDate, &[]),
            level(TcbStatus::OutOfDate, &["INTEL-SA-00477"]),
            level(TcbStatus::Revoked, &["INTEL-SA-00289"]),
        ],
    })
}

/// When a level was current: a month ago the good ones, half a year ago the outdated ones. At midnight, as Intel's.
fn date(issued: Timestamp, status: TcbStatus) -> String {
    let days = if status >= TcbStatus::OutOfDate { 180 } else { 30 };
    let date = issued.0.saturating_sub(days * 86_400);
    Timestamp(date - date % 86_400).to_string()
}

/// From best to worst, with advisories of the kind that Intel's TCB info names there.
const LEVELS: &[(TcbStatus, &[&str])] = &[
    (TcbStatus::UpToDate, &[]),
    (TcbStatus::SWHardeningNeeded, &["INTEL-SA-00615"]),
    (TcbStatus::ConfigurationNeeded, &["INTEL-SA-00219"]),
    (TcbStatus::ConfigurationAndSWHardeningNeeded, &["INTEL-SA-00219", "INTEL-SA-00615"]),
    (TcbStatus::OutOfDate, &["INTEL-SA-00828", "INTEL-SA-00837"]),
    (TcbStatus::OutOfDateConfigurationNeeded, &["INTEL-SA-00219", "INTEL-SA-00828"]),
    (TcbStatus::Revoked, &["INTEL-SA-00161"]),
];

pub(super) const PCE_ID: [u8; 2] = [0, 0];
const TCB_EVALUATION_DATA_NUMBER: u32 = 1;

//! Judging evidence from files.

use std::error::Error;
use std::sync::Arc;

use serde_json::{Value, json};

use super::input::tag_of_intels;
use super::inspect::{claims_json, fresh_json};
use super::{CertificateInput, EvidenceInput, Input, OfflineCollateral, QuoteInput};
use crate::appraise::snp::{self, Crl};
use crate::appraise::{
    AppraisalError, Appraised, Appraiser, CodeIdentity, CollateralBook, ParsedQuote, Platform, Root, TcbStatus,
    TrustRoots, amd_root,
};
use crate::certificate::{CertificateError, EvidenceForm, parse_interoperable, parse_legacy};
use crate::evidence::{Claims, Endorsements, Evidence, UserData};
use crate::policy::{Comparison, HopPlace, Policy};
use crate::quote;
use crate::tee::{EvidenceTag, Tee};
use crate::{CollateralDigest, Reason, Timestamp};

/// What became of the evidence; [`super`] has the JSON.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OfflineVerdict {
    pub ok: bool,
    pub outcome: Outcome,
    pub form: Value,
    pub at: String,
    pub policy: String,
    pub tee: Option<Tee>,
    pub root: Option<Root>,
    pub tcb_status: Option<TcbStatus>,
    pub tcb_date: Option<String>,
    pub advisories: Option<Vec<String>>,
    pub debug: Option<bool>,
    pub code: Option<CodeIdentity>,
    pub platform: Option<Platform>,
    pub collateral: Option<CollateralDigest>,
    pub revocation_checked: Option<bool>,
    pub expires: Option<String>,
    pub reference_values: Option<&'static str>,
    pub claims: Option<Value>,
    pub binding: Option<Value>,
    pub padding: usize,
    pub reasons: Vec<String>,
    pub comparisons: Vec<Comparison>,
    pub error: Option<VerdictError>,
}

/// How it went, for a program's exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Accepted,
    /// The evidence was judged, and it does not do.
    Refused,
    /// Something else than the evidence is missing or unusable: nothing is known of it.
    CouldNotTry,
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct VerdictError {
    /// The label of a [`Reason`].
    pub code: &'static str,
    pub message: String,
}

/// Judges a file of evidence as it would be judged as the only hop of a path, at a time of the caller's choice.
///
/// `allow_debug` lets a debug TEE pass whatever the policy says, for looking at one.
pub fn appraise(
    input: &Input,
    collateral: &OfflineCollateral,
    roots: &TrustRoots,
    policy: &Policy,
    allow_debug: bool,
    at: Timestamp,
) -> OfflineVerdict {
    let mut policy = policy.clone();
    policy.danger_allow_debug |= allow_debug;
    let form = match input {
        Input::Quote(input) => json!(input.form()),
        Input::Certificate(input) => json!(input.form()),
        Input::Evidence(input) => json!(input.form()),
    };
    let mut verdict = OfflineVerdict::unknown(form, &policy, at);
    let judge = Judge { collateral, roots, policy: &policy, at };
    let result = match input {
        Input::Quote(input) => judge.quote(input, &mut verdict),
        Input::Certificate(input) => judge.certificate(input, &mut verdict),
        Input::Evidence(input) => judge.evidence(input, &mut verdict),
    };
    match result {
        Ok(()) => {
            verdict.ok = true;
            verdict.outcome = Outcome::Accepted;
        }
        Err(failure) => {
            verdict.outcome = failure.outcome;
            verdict.error = Some(VerdictError { code: failure.reason.label(), message: failure.message });
        }
    }
    verdict
}

struct Judge<'a> {
    collateral: &'a OfflineCollateral,
    roots: &'a TrustRoots,
    policy: &'a Policy,
    at: Timestamp,
}

struct Failure {
    outcome: Outcome,
    reason: Reason,
    message: String,
}

impl Judge<'_> {
    fn quote(&self, input: &QuoteInput, verdict: &mut OfflineVerdict) -> Result<(), Failure> {
        verdict.tee = Some(input.tee);
        if input.padding > 0 {
            verdict.padding = input.padding;
            verdict.reasons.push(format!("{} bytes of padding behind the quote were cut off", input.padding));
        }
        verdict.reasons.push("a bare quote: nothing ties it to a key or a session".into());
        let user_data = quote::user_data(input.tag, &input.quote).map_err(|e| refused(e.reason(), &e))?;
        verdict.binding = Some(json!({ "user_data": hex::encode(user_data) }));
        self.judge(input.tag, &input.quote, None, None, verdict)
    }

    fn certificate(&self, input: &CertificateInput, verdict: &mut OfflineVerdict) -> Result<(), Failure> {
        if input.further > 0 {
            verdict.reasons.push(format!("{} more certificates in the file were not looked at", input.further));
        }
        if input.form() == EvidenceForm::LegacyCertificate {
            return self.legacy(input, verdict);
        }
        let peer = parse_interoperable(&input.der, self.at).map_err(|e| refused(e.reason(), &e))?;
        let evidence = peer.evidence.ok_or_else(|| Failure {
            outcome: Outcome::Refused,
            reason: Reason::NoEvidence,
            message: "the certificate has no evidence in it".into(),
        })?;
        verdict.tee = Some(evidence.tee());
        verdict.claims = Some(claims_json(evidence.claims()));
        let expected = UserData::of(evidence.claims());
        // Whatever does not hold was refused when the certificate was read.
        verdict.binding = Some(json!({
            "user_data": hex::encode(expected.as_bytes()),
            "expected": hex::encode(expected.as_bytes()),
            "holds": evidence.tag() != EvidenceTag::Null,
            "key": peer.kid,
        }));
        self.judge(evidence.tag(), evidence.quote(), Some(&evidence), peer.endorsements.as_ref(), verdict)
    }

    /// What a path carries beside its records: the quote is judged, and nothing says who showed it.
    fn evidence(&self, input: &EvidenceInput, verdict: &mut OfflineVerdict) -> Result<(), Failure> {
        let quoted = &input.0;
        verdict.tee = Some(quoted.tee());
        let (evidence, fresh) = (input.of_a_key(), input.fresh());
        let user_data = match (&evidence, &fresh) {
            (Some(evidence), _) => {
                verdict.claims = Some(claims_json(evidence.claims()));
                verdict.reasons.push("evidence without its certificate: nothing ties it to a session".into());
                Some(UserData::of(evidence.claims()))
            }
            (None, Some(fresh)) => {
                verdict.claims = Some(fresh_json(fresh.claims()));
                let what = "a fresh quote over legs: it names no key, and is no certificate's evidence";
                verdict.reasons.push(what.into());
                Some(UserData::of_fresh(fresh.claims()))
            }
            (None, None) => None,
        };
        let user_data = user_data.map(|user_data| hex::encode(user_data.as_bytes()));
        // Whatever does not hold was refused when the file was read.
        verdict.binding = Some(json!({
            "user_data": user_data,
            "expected": user_data,
            "holds": quoted.tag() != EvidenceTag::Null,
            "key": evidence.as_ref().map(|evidence| evidence.claims().key()),
        }));
        if let Some(fresh) = &fresh {
            self.policy.admit_end(fresh.claims().not_after, self.at).map_err(|e| refused(e.reason(), &e))?;
        }
        self.judge(quoted.tag(), quoted.quote(), evidence.as_ref(), None, verdict)
    }

    fn legacy(&self, input: &CertificateInput, verdict: &mut OfflineVerdict) -> Result<(), Failure> {
        let peer = parse_legacy(&input.der, self.at).map_err(|e: CertificateError| refused(e.reason(), &e))?;
        verdict.tee = Some(Tee::Sgx);
        verdict.reasons.push("legacy evidence: it binds the key, and no claims".into());
        let user_data = format!("{}{}", peer.key_hash, "00".repeat(32));
        verdict.binding =
            Some(json!({ "user_data": user_data, "expected": user_data, "holds": true, "key": peer.kid }));
        self.judge(tag_of_intels(&peer.quote), &peer.quote, None, None, verdict)
    }

    fn judge(
        &self,
        tag: EvidenceTag,
        quote: &[u8],
        evidence: Option<&Evidence>,
        endorsements: Option<&Endorsements>,
        verdict: &mut OfflineVerdict,
    ) -> Result<(), Failure> {
        let appraised = match tag {
            EvidenceTag::SevSnp => match self.appraise_snp(Root::Amd, quote, endorsements) {
                // A bare report has no tag: it may be one of the simulated platform that was named.
                Err(failure) if evidence.is_none() && !self.roots.amd(Root::Simulated).is_empty() => {
                    self.appraise_snp(Root::Simulated, quote, endorsements).map_err(|_| failure)?
                }
                judged => judged?,
            },
            EvidenceTag::Simulated if amd_root(tag, quote).is_some() => {
                self.appraise_snp(Root::Simulated, quote, endorsements)?
            }
            EvidenceTag::IntelQuote | EvidenceTag::Simulated => self.appraise_intel(tag, quote)?,
            EvidenceTag::Null => Appraiser::new(self.roots.clone(), Arc::default())
                .appraise_quote(tag, quote, self.at)
                .map_err(|e| refused(e.reason, &e))?,
        };
        verdict.fill(&appraised);
        let hop = evidence.map(Evidence::claims).and_then(Claims::hop);
        let place = HopPlace { position: 1, last: true, role: hop.map_or("", |hop| &hop.chain_role) };
        let admitted = self.policy.admit_hop(&place, &appraised, hop, self.at).map_err(|e| refused(e.reason(), &e))?;
        verdict.reference_values = Some(if admitted.compared { "compared" } else { "not-compared" });
        verdict.reasons.extend(admitted.reasons);
        verdict.comparisons = admitted.comparisons;
        Ok(())
    }

    fn appraise_intel(&self, tag: EvidenceTag, quote: &[u8]) -> Result<Appraised, Failure> {
        if let Some(missing) = without_pck_certificate(quote) {
            return Err(could_not_try(missing));
        }
        let parsed = ParsedQuote::parse(tag, quote).map_err(|e| refused(e.reason, &e))?;
        let root_der = self.roots.der(parsed.root).ok_or_else(|| Failure {
            outcome: Outcome::Refused,
            reason: Reason::Simulated,
            message: "simulated evidence: no simulated platform was named as a root of trust".into(),
        })?;
        let set = self.collateral.intel.iter().find(|set| set.id() == parsed.id).ok_or_else(|| {
            let at_hand: Vec<_> = self.collateral.intel.iter().map(|set| set.id().to_string()).collect();
            let at_hand = if at_hand.is_empty() { "none".into() } else { at_hand.join(", ") };
            could_not_try(format!("collateral for {} is needed; at hand: {at_hand}", parsed.id))
        })?;
        let book = CollateralBook::new();
        book.insert(parsed.root, Arc::new(set.clone())).map_err(|e| failed(&e))?;
        let appraiser = Appraiser::new(self.roots.clone(), Arc::new(book));
        appraiser.appraise_quote(tag, quote, self.at).map_err(|error| {
            // Not asked before: a set may lack a chain that the quote itself brings.
            let stale = self.at > set.expires()
                || set.verify(root_der, self.at).is_err_and(|error| error.reason == Reason::Expired);
            let outcome = if error.reason == Reason::Expired && stale { Outcome::CouldNotTry } else { outcome(&error) };
            Failure { outcome, reason: error.reason, message: error.to_string() }
        })
    }

    /// With the certificates of the files and those that came along; the first chain that fits decides.
    fn appraise_snp(
        &self,
        root: Root,
        report: &[u8],
        endorsements: Option<&Endorsements>,
    ) -> Result<Appraised, Failure> {
        let roots = self.roots.amd(root);
        let mut collateral = self.collateral.clone();
        if let Some(Endorsements::SevSnp(endorsements) | Endorsements::SimulatedSnp(endorsements)) = endorsements {
            collateral.add_snp(endorsements);
        }
        let mut crls = Vec::new();
        for der in &collateral.crls {
            let crl = Crl::verify(der, roots, self.at).map_err(|e| Failure {
                outcome: Outcome::CouldNotTry,
                reason: e.reason,
                message: format!("the CRL is not usable: {e}"),
            })?;
            crls.push(crl);
        }
        let mut failure = could_not_try(
            "the certificate of the VCEK or VLEK, and of the ASK or ASVK above it, is needed: it comes with the report \
             from its host, or from AMD's key service"
                .into(),
        );
        for chain in collateral.snp_chains() {
            let crl = |product| crls.iter().find(|(of, _)| *of == product).map(|(_, crl)| crl.clone());
            match snp::appraise(report, &chain, roots, crl, self.at) {
                Ok(appraised) => return Ok(appraised),
                // A chain of another chip says nothing of this one.
                Err(error) if error.reason == Reason::Collateral && failure.outcome == Outcome::Refused => {}
                Err(error) => failure = failed(&error),
            }
        }
        Err(failure)
    }
}

impl OfflineVerdict {
    /// The same form for evidence that did not come to be judged: nothing is known of it.
    pub fn not_judged(policy: &Policy, at: Timestamp, outcome: Outcome, error: VerdictError) -> Self {
        Self { outcome, error: Some(error), ..Self::unknown(Value::Null, policy, at) }
    }

    fn unknown(form: Value, policy: &Policy, at: Timestamp) -> Self {
        Self {
            ok: false,
            outcome: Outcome::CouldNotTry,
            form,
            at: at.to_string(),
            policy: policy.name.clone(),
            tee: None,
            root: None,
            tcb_status: None,
            tcb_date: None,
            advisories: None,
            debug: None,
            code: None,
            platform: None,
            collateral: None,
            revocation_checked: None,
            expires: None,
            reference_values: None,
            claims: None,
            binding: None,
            padding: 0,
            reasons: Vec::new(),
            comparisons: Vec::new(),
            error: None,
        }
    }

    fn fill(&mut self, appraised: &Appraised) {
        self.tee = Some(appraised.tee);
        self.root = Some(appraised.root);
        if appraised.root == Root::None {
            // Without evidence nothing is known; the worst status that stands there is for rules, not for readers.
            return;
        }
        self.tcb_status = Some(appraised.tcb_status);
        self.tcb_date = (appraised.tcb_date > Timestamp(0)).then(|| appraised.tcb_date.to_string());
        self.advisories = Some(appraised.advisories.clone());
        self.debug = Some(appraised.debug);
        self.code = Some(appraised.code.clone());
        self.platform = Some(appraised.platform.clone());
        self.collateral = Some(appraised.collateral);
        self.revocation_checked = Some(appraised.revocation_checked);
        self.expires = Some(appraised.expires.to_string());
    }
}

/// Quotes of machines that do not keep their PCK certificate name it instead: why that cannot be judged here.
fn without_pck_certificate(quote: &[u8]) -> Option<String> {
    let kind = super::inspect::certification_type(quote)?;
    let named = match kind {
        1 => "by its PPID",
        2 | 3 => "by its encrypted PPID",
        _ => return None,
    };
    Some(format!(
        "the quote brings no PCK certificate; it names its platform {named} (certification data type {kind}). The PCK \
         certificate for it is needed from a PCCS (`pckcert` with the PPID, CPUSVN, PCESVN and PCEID that `inspect` shows)"
    ))
}

fn failed(error: &AppraisalError) -> Failure {
    Failure { outcome: outcome(error), reason: error.reason, message: error.to_string() }
}

/// Of a refusal of appraisal: what is wrong with what lies beside the evidence says nothing of the evidence.
fn outcome(error: &AppraisalError) -> Outcome {
    if error.reason == Reason::Collateral { Outcome::CouldNotTry } else { Outcome::Refused }
}

fn refused(reason: Reason, error: &dyn Error) -> Failure {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        message.push_str(&format!(": {error}"));
        source = error.source();
    }
    Failure { outcome: Outcome::Refused, reason, message }
}

fn could_not_try(message: String) -> Failure {
    Failure { outcome: Outcome::CouldNotTry, reason: Reason::Collateral, message }
}

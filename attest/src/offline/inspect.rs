//! Showing evidence field by field. Nothing is judged: what is printed here anybody could have written.

use dcap_qvl::intel::extract_cert_chain;
use dcap_qvl::quote::{AuthData, EnclaveReport, Quote, Report, TDReport10};
use serde_json::{Map, Value, json};
use x509_parser::prelude::X509Certificate;

use super::{CertificateInput, EvidenceInput, Input, QuoteInput};
use crate::appraise::snp::SnpReport;
use crate::appraise::{ParsedQuote, amd_root, parse};
use crate::certificate::{EvidenceForm, locate_evidence, parse_interoperable, parse_legacy};
use crate::evidence::{Claims, Endorsements, FreshClaims, Quoted, UserData};
use crate::quote;
use crate::tee::EvidenceTag;
use crate::{Digest, KeyId, Timestamp};

/// Everything that stands in the file.
pub fn inspect(input: &Input) -> Value {
    match input {
        Input::Quote(input) => bare(input),
        Input::Certificate(input) => certificate(input),
        Input::Evidence(input) => evidence(input),
    }
}

fn bare(input: &QuoteInput) -> Value {
    json!({
        "form": input.form(),
        "simulated": input.tag == EvidenceTag::Simulated,
        "bytes": input.quote.len(),
        "padding": input.padding,
        "quote": quote_json(input.tag, &input.quote),
    })
}

fn certificate(input: &CertificateInput) -> Value {
    let (form, found) = locate_evidence(&input.der);
    let Ok(parsed) = parse(&input.der) else { return json!({ "form": form }) };
    let mut shown = json!({
        "form": form,
        "certificate": x509_json(&parsed),
        "further_certificates": input.further,
    });
    // The form as a peer would be held to it, at a time at which the certificate is valid: an old one is shown too.
    let (refused, endorsements) = match form {
        EvidenceForm::LegacyCertificate => (parse_legacy(&input.der, input.not_before).err(), None),
        _ => match parse_interoperable(&input.der, input.not_before) {
            Ok(peer) => (None, peer.endorsements),
            Err(error) => (Some(error), None),
        },
    };
    shown["form_error"] = json!(refused.as_ref().map(|error| chain_of(error)));
    shown["endorsements"] = endorsements.as_ref().map_or(Value::Null, endorsements_json);
    let spki = parsed.public_key().raw;
    match (form, found) {
        (EvidenceForm::LegacyCertificate, Some(padded)) => legacy(&padded, &parsed, &mut shown),
        (_, Some(blob)) => match Quoted::decode(&blob) {
            Ok(quoted) => tagged(&quoted, Some(KeyId::of(spki)), &mut shown),
            Err(error) => shown["evidence_error"] = json!(chain_of(&error)),
        },
        (_, None) => {}
    }
    shown
}

fn evidence(input: &EvidenceInput) -> Value {
    let mut shown = json!({ "form": input.form() });
    tagged(&input.0, None, &mut shown);
    shown
}

/// `kid` is the key of the certificate that it stands in, if it stands in one.
fn tagged(quoted: &Quoted, kid: Option<KeyId>, shown: &mut Value) {
    let fresh = quoted.clone().into_fresh().ok();
    shown["evidence"] = json!({
        "tag": quoted.tag().number(),
        "tee": quoted.tee(),
        "simulated": quoted.tag() == EvidenceTag::Simulated,
        "digest": quoted.digest(),
        "bytes": quoted.blob().len(),
        // What it may be shown for: a fresh quote is no certificate's evidence.
        "of": if fresh.is_some() { "legs" } else { "a key" },
    });
    let user_data = quote::user_data(quoted.tag(), quoted.quote()).ok();
    let (claims, expected, claimed) = match (fresh, quoted.clone().into_evidence()) {
        (None, Ok(evidence)) => {
            let claims = evidence.claims();
            (claims_json(claims), Some(UserData::of(claims)), Some(claims.key()))
        }
        (Some(fresh), _) => (fresh_json(fresh.claims()), Some(UserData::of_fresh(fresh.claims())), None),
        (None, Err(error)) => (json!({ "error": chain_of(&error) }), None, None),
    };
    let covered = user_data.is_some() && user_data.as_ref() == expected.as_ref().map(UserData::as_bytes);
    shown["claims"] = claims;
    shown["binding"] = json!({
        "key": kid,
        "claimed_key": claimed,
        "user_data": user_data.map(hex::encode),
        "expected": expected.map(|expected| hex::encode(expected.as_bytes())),
        "holds": covered && kid.is_none_or(|kid| claimed == Some(kid)),
    });
    if quoted.tag() != EvidenceTag::Null {
        shown["quote"] = quote_json(quoted.tag(), quoted.quote());
    }
}

/// The claims of a fresh quote.
pub(super) fn fresh_json(claims: &FreshClaims) -> Value {
    json!({
        "inclavared-fresh": {
            "config_digest": claims.config_digest,
            "not_after": claims.not_after.to_string(),
            "root": claims.root,
            "iat_ms": claims.iat_ms,
        },
    })
}

fn legacy(padded: &[u8], parsed: &X509Certificate<'_>, shown: &mut Value) {
    let tag = EvidenceTag::IntelQuote;
    let (Ok(quote), Ok(user_data)) = (quote::cut(tag, padded), quote::user_data(tag, padded)) else {
        shown["evidence_error"] = json!("the legacy extension holds no quote");
        return;
    };
    let spki = parsed.public_key();
    let hashes = [Digest::of(spki.raw), Digest::of(&spki.subject_public_key.data)];
    shown["binding"] = json!({
        "key": KeyId::of(spki.raw),
        "user_data": hex::encode(user_data),
        "spki_sha256": hashes[0],
        "public_key_sha256": hashes[1],
        "holds": hashes.iter().any(|hash| user_data[..32] == hash.as_bytes()[..]) && user_data[32..] == [0; 32],
    });
    shown["padding"] = json!(padded.len() - quote.len());
    shown["quote"] = quote_json(tag, quote);
}

/// The claims by name; bytes are in hexadecimal, times in RFC 3339.
pub(super) fn claims_json(claims: &Claims) -> Value {
    let unknown: Map<_, _> =
        claims.unknown().iter().map(|(name, value)| (name.clone(), json!(hex::encode(value)))).collect();
    json!({
        "pubkey-hash": claims.key(),
        "nonce": claims.nonce(),
        "inclavared": claims.hop().map(|hop| json!({
            "version": hop.version,
            "chain_role": hop.chain_role,
            "policy_digest": hop.policy_digest,
            "not_after": hop.not_after.to_string(),
            "config_digest": hop.config_digest,
        })),
        "unknown": unknown,
    })
}

/// Of the certification data within the quote: 5 is a chain of PCK certificates.
pub(super) fn certification_type(quote: &[u8]) -> Option<u16> {
    Some(certification(&Quote::parse(quote).ok()?).0)
}

fn certification(quote: &Quote) -> (u16, &[u8]) {
    let data = match &quote.auth_data {
        AuthData::V3(data) => &data.certification_data,
        AuthData::V4(data) => &data.qe_report_data.certification_data,
    };
    (data.cert_type, &data.body.data)
}

fn quote_json(tag: EvidenceTag, bytes: &[u8]) -> Value {
    if amd_root(tag, bytes).is_some() {
        return SnpReport::parse(bytes).map_or_else(|error| json!({ "error": error.to_string() }), |r| snp_json(&r));
    }
    let quote = match Quote::parse(bytes) {
        Ok(quote) => quote,
        Err(error) => return json!({ "error": format!("{error:#}") }),
    };
    let header = &quote.header;
    let (body_kind, body) = match &quote.report {
        Report::SgxEnclave(report) => ("sgx", sgx_json(report)),
        Report::TD10(report) => ("td-1.0", tdx_json(report)),
        Report::TD15(report) => ("td-1.5", td15_json(&report.base, &report.tee_tcb_svn2, &report.mr_service_td)),
        Report::TD15Ex(report) => {
            ("td-1.5-extended", td15_json(&report.base.base, &report.base.tee_tcb_svn2, &report.base.mr_service_td))
        }
    };
    let qe_report = match &quote.auth_data {
        AuthData::V3(data) => &data.qe_report[..],
        AuthData::V4(data) => &data.qe_report_data.qe_report[..],
    };
    json!({
        "header": {
            "version": header.version,
            "attestation_key_type": header.attestation_key_type,
            "tee_type": header.tee_type,
            "qe_svn": header.qe_svn,
            "pce_svn": header.pce_svn,
            "qe_vendor_id": hex::encode(header.qe_vendor_id),
            "user_data": hex::encode(header.user_data),
        },
        "body_kind": body_kind,
        "body": body,
        "qe_report": hex::encode(qe_report),
        "certification": certification_json(tag, &quote, bytes),
    })
}

fn certification_json(tag: EvidenceTag, quote: &Quote, bytes: &[u8]) -> Value {
    let (kind, data) = certification(quote);
    let mut shown = json!({ "type": kind, "bytes": data.len() });
    if let (2 | 3, Some((ppid, rest))) = (kind, data.len().checked_sub(20).and_then(|at| data.split_at_checked(at))) {
        // Encrypted PPID, CPUSVN, PCESVN, PCEID (little-endian).
        shown["encrypted_ppid"] = json!(hex::encode(ppid));
        shown["cpusvn"] = json!(hex::encode(&rest[..16]));
        shown["pcesvn"] = json!(u16::from_le_bytes([rest[16], rest[17]]));
        shown["pceid"] = json!(u16::from_le_bytes([rest[18], rest[19]]));
    }
    if let Ok(chain) = extract_cert_chain(quote) {
        let certificates: Vec<_> =
            chain.iter().map(|der| parse(der).map_or(Value::Null, |certificate| x509_json(&certificate))).collect();
        shown["chain"] = json!(certificates);
        shown["collateral"] = json!(ParsedQuote::parse(tag, bytes).ok().map(|parsed| parsed.id.to_string()));
    }
    shown
}

fn sgx_json(report: &EnclaveReport) -> Value {
    json!({
        "cpu_svn": hex::encode(report.cpu_svn),
        "misc_select": report.misc_select,
        "attributes": hex::encode(report.attributes),
        "debug": report.attributes[0] & 2 != 0,
        "mrenclave": hex::encode(report.mr_enclave),
        "mrsigner": hex::encode(report.mr_signer),
        "isv_prod_id": report.isv_prod_id,
        "isv_svn": report.isv_svn,
        // Key separation and sharing, which the library leaves among what is reserved.
        "config_id": hex::encode(&report.reserved3[32..]),
        "config_svn": u16::from_le_bytes([report.reserved4[0], report.reserved4[1]]),
        "isv_family_id": hex::encode(&report.reserved4[44..]),
        "isv_ext_prod_id": hex::encode(&report.reserved1[12..]),
        "report_data": hex::encode(report.report_data),
    })
}

fn tdx_json(report: &TDReport10) -> Value {
    json!({
        "tee_tcb_svn": hex::encode(report.tee_tcb_svn),
        "mrseam": hex::encode(report.mr_seam),
        "mrsignerseam": hex::encode(report.mr_signer_seam),
        "seam_attributes": hex::encode(report.seam_attributes),
        "td_attributes": hex::encode(report.td_attributes),
        "debug": report.td_attributes[0] != 0,
        "xfam": hex::encode(report.xfam),
        "mrtd": hex::encode(report.mr_td),
        "mrconfigid": hex::encode(report.mr_config_id),
        "mrowner": hex::encode(report.mr_owner),
        "mrownerconfig": hex::encode(report.mr_owner_config),
        "rtmr0": hex::encode(report.rt_mr0),
        "rtmr1": hex::encode(report.rt_mr1),
        "rtmr2": hex::encode(report.rt_mr2),
        "rtmr3": hex::encode(report.rt_mr3),
        "report_data": hex::encode(report.report_data),
    })
}

fn td15_json(base: &TDReport10, tee_tcb_svn2: &[u8], mr_service_td: &[u8]) -> Value {
    let mut shown = tdx_json(base);
    shown["tee_tcb_svn2"] = json!(hex::encode(tee_tcb_svn2));
    shown["mrservicetd"] = json!(hex::encode(mr_service_td));
    shown
}

/// TCBs as eight bytes: what they mean depends on the product, which only the certificate says.
fn snp_json(report: &SnpReport) -> Value {
    let version = |[major, minor, build]: [u8; 3]| format!("{major}.{minor}.{build}");
    json!({
        "version": report.version,
        "guest_svn": report.guest_svn,
        "guest_policy": format!("{:#x}", report.policy),
        "debug": report.debug(),
        "family_id": hex::encode(report.family_id),
        "image_id": hex::encode(report.image_id),
        "vmpl": report.vmpl,
        "signature_algorithm": report.signature_algorithm,
        "current_tcb": hex::encode(report.current_tcb),
        "platform_info": format!("{:#x}", report.platform_info),
        "key_info": format!("{:#x}", report.key_info),
        "signing_key": report.signing_key(),
        "report_data": hex::encode(report.report_data),
        "measurement": hex::encode(report.measurement),
        "host_data": hex::encode(report.host_data),
        "id_key_digest": hex::encode(report.id_key_digest),
        "author_key_digest": hex::encode(report.author_key_digest),
        "report_id": hex::encode(report.report_id),
        "report_id_ma": hex::encode(report.report_id_ma),
        "reported_tcb": hex::encode(report.reported_tcb),
        "cpuid": report.cpuid.map(|[family, model, stepping]| json!({
            "family": family, "model": model, "stepping": stepping,
        })),
        "chip_id": hex::encode(report.chip_id),
        "committed_tcb": hex::encode(report.committed_tcb),
        "current_version": version(report.current_version),
        "committed_version": version(report.committed_version),
        "launch_tcb": hex::encode(report.launch_tcb),
        "mitigations": report.mitigations.map(|[launch, current]| json!({
            "launch": format!("{launch:#x}"), "current": format!("{current:#x}"),
        })),
    })
}

fn endorsements_json(endorsements: &Endorsements) -> Value {
    match endorsements {
        Endorsements::Intel(set) | Endorsements::Simulated(set) => json!({
            "version": set.version,
            "tcb_info": String::from_utf8_lossy(&set.tcb_info),
            "qe_identity": String::from_utf8_lossy(&set.qe_identity),
            "pck_crl_bytes": set.pck_crl.len(),
            "root_ca_crl_bytes": set.root_ca_crl.len(),
        }),
        Endorsements::SevSnp(chain) | Endorsements::SimulatedSnp(chain) => {
            let shown = |der: &[u8]| parse(der).map_or(Value::Null, |certificate| x509_json(&certificate));
            json!({ "vcek": shown(&chain.vcek), "ask": shown(&chain.ask) })
        }
    }
}

fn x509_json(certificate: &X509Certificate<'_>) -> Value {
    let time = |seconds: i64| Timestamp(u64::try_from(seconds).unwrap_or(0)).to_string();
    let validity = certificate.validity();
    json!({
        "version": u64::from(certificate.version().0) + 1,
        "serial": certificate.raw_serial_as_string(),
        "subject": printable(&certificate.subject().to_string()),
        "issuer": printable(&certificate.issuer().to_string()),
        "not_before": time(validity.not_before.timestamp()),
        "not_after": time(validity.not_after.timestamp()),
        "spki_sha256": Digest::of(certificate.public_key().raw),
    })
}

/// Names are the peer's choice: no control characters reach a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn chain_of(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain_of(source)),
        None => error.to_string(),
    }
}

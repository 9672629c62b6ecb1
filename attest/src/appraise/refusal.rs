//! Typed refusals from the library's untyped ones.
//!
//! The library says what failed in words alone (dcap-qvl 0.7.1, which is pinned). The table names every sentence
//! that matters; what it does not know is still a refusal, under the reason that fits best.

use std::fmt;

use super::{AppraisalError, Collateral};
use crate::{Reason, Timestamp};

/// The refusal behind an error of the library.
pub(super) fn of(
    error: &impl fmt::Display,
    collateral: &Collateral,
    root_der: &[u8],
    now: Timestamp,
) -> AppraisalError {
    let words = format!("{error:#}");
    if let Some(known) = KNOWN.iter().find(|known| words.contains(known.words)) {
        return AppraisalError::new(known.reason, known.what, known.expected, words);
    }
    // The library verifies four chains with one message. If the collateral is sound, it was the quote's.
    if let Err(error) = collateral.verify(root_der, now) {
        return error;
    }
    let reason = if words.contains("Expired") || words.contains("NotValidYet") {
        Reason::Expired
    } else {
        Reason::QuoteSignature
    };
    AppraisalError::new(reason, "the quote's PCK certificate chain", "a valid chain to the root", words)
}

/// The sentences that the table knows, for the test that holds them against the library's source.
#[cfg(test)]
pub(super) fn known_words() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.words)
}

struct Known {
    words: &'static str,
    reason: Reason,
    what: &'static str,
    expected: &'static str,
}

const fn known(words: &'static str, reason: Reason, what: &'static str, expected: &'static str) -> Known {
    Known { words, reason, what, expected }
}

/// In order: the first that is contained in the message counts.
const KNOWN: &[Known] = &[
    known("Failed to load root ca", Reason::Internal, "the root of trust", "a certificate"),
    // The quote.
    known("Failed to decode quote", Reason::EvidenceForm, "quote", "an SGX or TDX quote"),
    known("Unsupported DCAP quote version", Reason::EvidenceForm, "quote version", "3, 4 or 5"),
    known("Unknown QE vendor ID", Reason::EvidenceForm, "QE vendor", "Intel's quoting enclave"),
    known("Unsupported TEE type", Reason::EvidenceForm, "TEE type", "SGX or TDX"),
    known("SGX TEE quote must have version 3", Reason::EvidenceForm, "quote version", "3 for SGX"),
    known("TDX TEE quote must have version 4 or 5", Reason::EvidenceForm, "quote version", "4 or 5 for TDX"),
    known("Unsupported DCAP attestation key type", Reason::EvidenceForm, "attestation key", "ECDSA P-256"),
    known("Invalid QE auth data length", Reason::EvidenceForm, "QE authentication data", "32 bytes"),
    known("Unsupported DCAP PCK cert format", Reason::EvidenceForm, "PCK certificate", "the chain in the quote"),
    known("Failed to extract PCK certificates", Reason::EvidenceForm, "PCK certificate", "the chain in the quote"),
    known("too short in quote", Reason::EvidenceForm, "PCK certificate", "the chain in the quote"),
    known("Too many intermediate certificates", Reason::EvidenceForm, "certificate chain", "at most five certificates"),
    known("Failed to parse PCK certificate", Reason::QuoteSignature, "PCK certificate", "a certificate"),
    known("invalid for qe_report", Reason::QuoteSignature, "QE report", "signed by the PCK key"),
    known("QE report hash mismatch", Reason::QuoteSignature, "QE report", "a hash of the attestation key"),
    known("ISV enclave report signature", Reason::QuoteSignature, "quote", "signed by the attestation key"),
    known("QE report validation failed", Reason::QuoteSignature, "quoting enclave", "one without debug"),
    known("QE MRSIGNER mismatch", Reason::QuoteSignature, "quoting enclave", "the one of the QE identity"),
    known("QE ISVPRODID mismatch", Reason::QuoteSignature, "quoting enclave", "the one of the QE identity"),
    known("QE MISCSELECT mismatch", Reason::QuoteSignature, "quoting enclave", "the one of the QE identity"),
    known("QE ATTRIBUTES mismatch", Reason::QuoteSignature, "quoting enclave", "the one of the QE identity"),
    // The collateral. CRLs are checked before everything else.
    known("CrlExpired", Reason::Expired, "CRL", "one within its time"),
    known("TCBInfo issue date is in the future", Reason::Expired, "TCB info", "one within its time"),
    known("TCBInfo expired", Reason::Expired, "TCB info", "one within its time"),
    known("QE Identity issue date is in the future", Reason::Expired, "QE identity", "one within its time"),
    known("QE Identity expired", Reason::Expired, "QE identity", "one within its time"),
    known("Failed to parse root CA CRL", Reason::Collateral, "root CA CRL", "a CRL signed by the root"),
    known("Failed to parse PCK CRL", Reason::Collateral, "PCK CRL", "a CRL"),
    known("Failed to decode TcbInfo", Reason::Collateral, "TCB info", "TCB info v3"),
    known("Failed to decode QeIdentity", Reason::Collateral, "QE identity", "QE identity v2"),
    known("invalid for tcb_info", Reason::Collateral, "TCB info", "signed by its signer"),
    known("invalid for qe_identity", Reason::Collateral, "QE identity", "signed by its signer"),
    known("TCB Info signer must be issued directly", Reason::Collateral, "TCB signer", "issued by the root"),
    known("QE Identity signer must be issued directly", Reason::Collateral, "TCB signer", "issued by the root"),
    known("Unsupported QE Identity id/version", Reason::Tee, "QE identity", "the one of the quote's TEE"),
    known("with non-TDX TCB info", Reason::Tee, "TCB info", "TDX"),
    known("with non-SGX TCB info", Reason::Tee, "TCB info", "SGX"),
    known("Fmspc mismatch", Reason::Collateral, "TCB info", "the platform's FMSPC"),
    known("component count mismatch", Reason::Collateral, "TCB info", "sixteen components"),
    known("Unrecognized TCB status", Reason::Collateral, "TCB info", "a status that fits its place"),
    known("No TCB levels found in QE Identity", Reason::Collateral, "QE identity", "TCB levels"),
    // What both together say of the platform.
    known("No matching TCB level", Reason::TcbStatus, "TCB level", "one that the TCB info lists"),
    known("is below minimum required", Reason::TcbStatus, "TCB level", "one that the collateral lists"),
    known("No TDX module identity", Reason::TcbStatus, "TDX module", "one that the TCB info lists"),
    known("TCB status is invalid: Revoked", Reason::TcbStatus, "TCB status", "not revoked"),
    known("TDX module", Reason::Measurement, "TDX module", "Intel's module"),
    known(
        "SEPT_VE_DISABLE",
        Reason::Measurement,
        "TD attributes",
        "SEPT_VE_DISABLE (TDs without it, as Azure's, are not supported: the host could inject exceptions)",
    ),
    known("TD migration is enabled", Reason::Measurement, "TD attributes", "a TD that cannot be migrated"),
    known("SERVTD_EXT is enabled", Reason::Measurement, "TD attributes", "no service TD"),
    known("Invalid MR service TD", Reason::Measurement, "TD report", "no service TD"),
    known("Reserved bits in TD attributes", Reason::Measurement, "TD attributes", "reserved bits clear"),
];

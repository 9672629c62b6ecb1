//! Evidence in files: reading it, judging it and showing it, without a session and without a network.
//!
//! [`Input::read`] tells what a file is; [`Collateral files`](OfflineCollateral) are what stands beside it;
//! [`appraise`] judges and [`inspect`] shows. Pure: the caller reads the files and the clock.
//!
//! # The JSON of a verdict
//!
//! ```json
//! {
//!   "ok": true,                       // exactly if `outcome` is "accepted"
//!   "outcome": "accepted",            // or "refused", "could-not-try"
//!   "form": "quote",                  // "report", "interoperable-certificate", "cmw-certificate", "legacy-certificate",
//!                                     // "evidence", "fresh-quote"
//!   "at": "2025-02-10T00:00:00Z",     // the time for which this holds
//!   "policy": "genuine-only",
//!   "tee": "tdx",                     // "sgx", "sev-snp", "none"; from here on null where it is not known
//!   "root": "intel",                  // "amd", "simulated", "none"
//!   "tcb_status": "UpToDate",
//!   "tcb_date": "2024-03-13T00:00:00Z",  // null for SEV-SNP
//!   "advisories": [],
//!   "debug": false,
//!   "code": {"tdx": {"mrtd": "...", ...}},
//!   "platform": {"ids": ["..."], "smt": true, ...},
//!   "collateral": "...",              // the digest of what it was judged with
//!   "revocation_checked": true,
//!   "expires": "2025-03-01T00:00:00Z",
//!   "reference_values": "not-compared",  // or "compared"; null if it did not come to that
//!   "claims": {"pubkey-hash": "...", "nonce": "...", "inclavared": {...}, "unknown": {"name": "hex"}},  // null: a bare quote
//!                                     // of a fresh quote: {"inclavared-fresh": {...}}
//!   "binding": {"user_data": "...", "expected": "...", "holds": true, "key": "..."},  // bare quote: user_data alone
//!   "padding": 0,                     // bytes behind the quote that were cut off
//!   "reasons": ["..."],               // what a reader should know, accepted or not
//!   "comparisons": [{"field": "mrtd", "expected": "...", "found": "..."}],  // every field that was compared
//!   "error": {"code": "debug", "message": "..."}  // null if accepted; the codes are the labels of `Reason`
//! }
//! ```
//!
//! `could-not-try` means that something else than the evidence is missing or unusable: no collateral for it, collateral
//! that is not valid at this time, a PCK certificate or a VCEK that somebody would have to fetch.

mod collateral;
mod input;
mod inspect;
mod verdict;

pub use collateral::OfflineCollateral;
pub use input::{CertificateInput, EvidenceInput, Input, InputError, QuoteInput};
pub use inspect::inspect;
pub use verdict::{OfflineVerdict, Outcome, VerdictError, appraise};

#[cfg(test)]
mod tests;

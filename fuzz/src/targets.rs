//! What each target does with its bytes, and what has to hold of what it accepts. A body never fails but by an assertion.
//!
//! The same functions serve the fuzzer and `tunnel/tests/fuzz`.

use std::fmt::Debug;

use inclavared_attest::certificate::{parse, parse_interoperable, parse_legacy};
use inclavared_attest::evidence::{Claims, Endorsements, Evidence, EvidenceTag, FreshEvidence};
use inclavared_attest::path::{Abort, Fault, Open, Start, Trailer, TrailerLimits, no_known_blobs};
use inclavared_attest::quote::{self, Layout};
use inclavared_attest::{Timestamp, dcbor};
use inclavared_wire::frame::{Admits, Assembler, Frame, FrameError, HEADER, header};
use inclavared_wire::tls;

/// When certificates are read: seeds are made for it.
pub const NOW: Timestamp = Timestamp(1_900_000_000);

/// Records of a peer after its handshake: `type, length, content` each.
pub fn record_content(bytes: &[u8]) {
    tls::fuzz_content(bytes);
}

/// What is accepted does not depend on what follows it, and is not accepted before it is whole.
pub fn client_hello(bytes: &[u8]) {
    let Ok(Some(hello)) = tls::parse_client_hello(bytes) else { return };
    let longer = [bytes, &[0; 7]].concat();
    let again = tls::parse_client_hello(&longer);
    assert!(matches!(&again, Ok(Some(again)) if format!("{again:?}") == format!("{hello:?}")), "{again:?}");
    let cut = tls::parse_client_hello(&bytes[..bytes.len().min(8)]);
    assert!(matches!(cut, Ok(None)), "{cut:?}");
}

/// However the bytes are cut into records, the same frames come out of them, and they say what was sent.
pub fn frames(bytes: &[u8]) {
    let whole = assemble(bytes, bytes.len().max(1));
    for piece in [1, 7, 1024] {
        // A byte at a time is slow, and finds what it finds early.
        if piece == 1 && bytes.len() > 4096 {
            continue;
        }
        assert_eq!(assemble(bytes, piece), whole);
    }
    let sent: Vec<u8> =
        whole.0.iter().flat_map(|f| [&header(f.kind, f.payload.len())[..], &f.payload].concat()).collect();
    assert!(bytes.starts_with(&sent));
    assert!(whole.0.iter().all(|frame| frame.payload.len() <= frame.kind.max_len()));
    if whole.1.is_none() {
        assert!(bytes.len() - sent.len() < HEADER + inclavared_wire::frame::MAX_CONTROL);
    }
}

fn assemble(bytes: &[u8], piece: usize) -> (Vec<Frame>, Option<FrameError>) {
    let (mut assembler, mut frames) = (Assembler::new(Admits::ALL), Vec::new());
    for piece in bytes.chunks(piece) {
        assembler.push(piece);
        loop {
            match assembler.take() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// dCBOR: one encoding for each value. A code that is not known is read as `unknown`, which has one of its own.
pub fn messages(bytes: &[u8]) {
    if let Ok(open) = Open::decode(bytes) {
        assert_eq!(open.encode(), bytes);
    }
    if let Ok(start) = Start::decode(bytes) {
        assert_eq!(start.encode(), bytes);
    }
    if let Ok(abort) = Abort::decode(bytes) {
        same(&abort, Abort::decode(&abort.encode()));
    }
    if let Ok(fault) = Fault::decode(bytes) {
        same(&fault, Fault::decode(&fault.encode()));
        assert_eq!(fault.without_expected().expected, None);
    }
}

pub fn trailer(bytes: &[u8]) {
    let Ok(trailer) = Trailer::decode(bytes, &TrailerLimits::MOST, &no_known_blobs) else { return };
    assert_eq!(trailer.encode(), bytes);
    assert!((1..=usize::from(TrailerLimits::MOST.hops)).contains(&trailer.records().len()));
}

/// Evidence is kept and hashed as it was received.
pub fn evidence(bytes: &[u8]) {
    if let Ok(evidence) = Evidence::decode(bytes) {
        assert_eq!(evidence.blob(), bytes);
        same(&evidence, Evidence::decode(bytes));
        let again = Evidence::new(evidence.tag(), evidence.quote().to_vec(), evidence.claims().clone()).unwrap();
        assert_eq!((again.quote(), again.claims()), (evidence.quote(), evidence.claims()));
    }
    if let Ok(fresh) = FreshEvidence::decode(bytes) {
        assert!(Evidence::decode(bytes).is_err(), "of a key or over legs");
        assert_eq!(fresh.blob(), bytes);
        same(&fresh, FreshEvidence::decode(bytes));
    }
    if let Ok(claims) = Claims::decode(bytes) {
        assert_eq!(claims.encoded(), bytes);
    }
    if let Ok(endorsements) = Endorsements::decode(bytes) {
        same(&endorsements, Endorsements::decode(&endorsements.encode()));
    }
}

/// The strictest of the three readers accepts nothing that the next one does not.
pub fn certificate(bytes: &[u8]) {
    let hop = parse(bytes, NOW);
    let interoperable = parse_interoperable(bytes, NOW);
    if let Ok(hop) = hop {
        assert_eq!(interoperable.as_ref(), Ok(&hop));
    }
    if let Ok(found) = &interoperable {
        assert!((found.not_before..=found.not_after).contains(&NOW));
        assert!(found.evidence.as_ref().is_none_or(|evidence| evidence.claims().key() == found.kid));
    }
    if let Ok(legacy) = parse_legacy(bytes, NOW) {
        assert_eq!(quote::cut(EvidenceTag::IntelQuote, &legacy.quote), Ok(&legacy.quote[..]));
    }
}

/// What is cut is a beginning, and cutting it again takes nothing.
pub fn quote(bytes: &[u8]) {
    for tag in [EvidenceTag::IntelQuote, EvidenceTag::Simulated, EvidenceTag::SevSnp] {
        let _ = quote::tee(tag, bytes);
        let _ = quote::user_data(tag, bytes);
        let Ok(cut) = quote::cut(tag, bytes) else { continue };
        assert!(bytes.starts_with(cut));
        assert_eq!(quote::cut(tag, cut), Ok(cut));
        assert_eq!(Layout::read(tag, cut).unwrap().len, cut.len());
        assert_eq!(quote::user_data(tag, cut), quote::user_data(tag, bytes));
    }
}

/// The check is a function of the bytes, and what it lets through can be read.
pub fn dcbor(bytes: &[u8]) {
    let limits = dcbor::Limits::bytes(4096);
    let checked = dcbor::check(bytes, &limits);
    assert_eq!(checked.is_ok(), dcbor::Item::parse(bytes, &limits).is_ok());
    if checked.is_ok() {
        // Nothing shorter is whole, and nothing longer is one item.
        assert!(dcbor::check(&bytes[..bytes.len() - 1], &limits).is_err());
        assert!(dcbor::check(&[bytes, &[0]].concat(), &limits).is_err());
    }
}

/// A policy that loads has one digest; one that does not says what is wrong.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match inclavared_config::parse_policy("fuzz.toml", text, None) {
        Ok(policy) => {
            let again = inclavared_config::parse_policy("fuzz.toml", text, None).unwrap();
            assert_eq!(policy.digest(), again.digest());
        }
        Err(errors) => assert!(!errors.mistakes().is_empty()),
    }
}

pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match inclavared_config::parse("fuzz.toml", text) {
        Ok(config) => {
            // What it means can be shown, whatever it is.
            let _ = config.summary().to_string();
            assert!(!config.routes.is_empty());
        }
        Err(errors) => assert!(!errors.mistakes().is_empty()),
    }
}

fn same<T: PartialEq + Debug, E: PartialEq + Debug>(value: &T, again: Result<T, E>) {
    assert_eq!(again.as_ref(), Ok(value));
}

//! FAULT: why a leg ended, told to the neighbour. Advice from an authenticated peer, not proof.

use super::open::{MAX_TEXT, optional_text, printable};
use super::{MAX_HOPS, WireError};
use crate::Reason;
use crate::dcbor::{FormError, Item, Limits, Map};

/// Payload of a FAULT, in bytes.
pub const MAX_FAULT: usize = 1024;

/// Why a leg ended. No text of it has control characters, and none is over 256 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// 0 is the peer that sent it; each relaying hop adds 1.
    pub distance: u8,
    pub code: Reason,
    /// Left out to clients without evidence: it gives away reference values.
    pub expected: Option<String>,
    pub found: Option<String>,
    pub text: Option<String>,
    /// The hop that it speaks of, where it is one below its sender: 1 is the next.
    pub hop: Option<u8>,
}

impl Fault {
    /// A finding of one's own. Control characters and what is over 256 bytes are taken out of the text.
    pub fn new(code: Reason, text: &str) -> Self {
        Self { distance: 0, code, expected: None, found: None, text: Some(printable(text)), hop: None }
    }

    pub fn with_values(mut self, expected: &str, found: &str) -> Self {
        self.expected = Some(printable(expected));
        self.found = Some(printable(found));
        self
    }

    /// The hop at fault, as its sender counts.
    pub fn about(mut self, hop: Option<u8>) -> Self {
        self.hop = hop.filter(|hop| (1..=MAX_HOPS).contains(hop));
        self
    }

    /// As the next hop toward the verifier tells it on.
    pub fn relayed(mut self) -> Self {
        self.distance = self.distance.saturating_add(1).min(MAX_HOPS);
        self
    }

    /// As a peer without evidence may see it.
    pub fn without_expected(mut self) -> Self {
        self.expected = None;
        self
    }

    pub fn encode(&self) -> Vec<u8> {
        Map::new()
            .uint(1, u64::from(self.distance))
            .uint(2, u64::from(self.code.code()))
            .optional(3, self.expected.as_deref(), |w, text| w.text(&printable(text)))
            .optional(4, self.found.as_deref(), |w, text| w.text(&printable(text)))
            .optional(5, self.text.as_deref(), |w, text| w.text(&printable(text)))
            .optional(6, self.hop, |w, hop| w.uint(u64::from(hop)))
            .finish()
    }

    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        Self::read(payload).map_err(|form| WireError { message: "FAULT", form })
    }

    fn read(payload: &[u8]) -> Result<Self, FormError> {
        let mut fields = Item::parse(payload, &Limits::bytes(MAX_FAULT))?.fields("FAULT")?;
        let fault = Self {
            distance: fields.required(1, "distance")?.uint_in("distance", 0, u64::from(MAX_HOPS))? as u8,
            code: Reason::from_code(fields.required(2, "code")?.uint("code")?),
            expected: optional_text(fields.optional(3), "expected")?,
            found: optional_text(fields.optional(4), "found")?,
            text: optional_text(fields.optional(5), "text")?,
            hop: match fields.optional(6) {
                Some(hop) => Some(hop.uint_in("hop", 1, u64::from(MAX_HOPS))? as u8),
                None => None,
            },
        };
        fields.finish()?;
        Ok(fault)
    }
}

// The largest FAULT: three texts, each with its key and head of 4 bytes, and the three numbers.
const _: () = assert!(3 * (MAX_TEXT + 4) + 10 <= MAX_FAULT);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comes_back_as_it_was_and_counts_its_relays() {
        let fault = Fault::new(Reason::TcbStatus, "TCB status").with_values("UpToDate", "OutOfDate").about(Some(2));
        assert_eq!(Fault::decode(&fault.encode()), Ok(fault.clone()));
        assert_eq!(fault.clone().relayed().relayed().distance, 2);
        let far = (0..100).fold(fault.clone(), |fault, _| fault.relayed());
        assert_eq!(Fault::decode(&far.encode()).unwrap().distance, MAX_HOPS);
        assert_eq!((fault.clone().relayed().hop, fault.clone().about(Some(0)).hop), (Some(2), None));
        assert_eq!(fault.without_expected().expected, None);
        let nowhere = Map::new().uint(1, 0).uint(2, 1).uint(6, 17).finish();
        assert_eq!(Fault::decode(&nowhere).unwrap_err().to_string(), "FAULT: hop: expected 1 to 16, found 17");
    }

    #[test]
    fn text_is_cut_and_cleaned_on_the_way_out_and_refused_on_the_way_in() {
        let long = Fault::new(Reason::Protocol, &"\u{1b}[31mé".repeat(100));
        let text = long.text.clone().unwrap();
        assert!(text.len() <= MAX_TEXT && !text.chars().any(char::is_control));
        assert_eq!(Fault::decode(&long.encode()), Ok(long));
        let raw = |text: &str| Map::new().uint(1, 0).uint(2, 1).text(5, text).finish();
        assert_eq!(Fault::decode(&raw("a\u{1b}b")).unwrap_err().form, FormError::ControlCharacters { field: "text" });
        assert_eq!(
            Fault::decode(&raw(&"x".repeat(257))).unwrap_err().to_string(),
            "FAULT: text: expected at most 256 bytes, found 257"
        );
        let unknown = Map::new().uint(1, 0).uint(2, 40_000).finish();
        assert_eq!(Fault::decode(&unknown).unwrap().code, Reason::Unknown);
    }

    proptest! {
        #[test]
        fn whatever_is_said_can_be_read(text in ".{0,400}", found in ".{0,400}", distance in 0u8..=16) {
            let fault = Fault { distance, ..Fault::new(Reason::Debug, &text).with_values(&text, &found) };
            prop_assert_eq!(Fault::decode(&fault.encode()), Ok(fault));
        }
    }
}

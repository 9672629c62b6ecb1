//! What a rule demands of single fields, beside the reference value that names the code.

use std::collections::BTreeSet;
use std::fmt;

use super::field::guest_policy_words;
use super::{Field, FieldValue};
use crate::appraise::CodeIdentity;

/// One field and what has to stand in it. A demand on a field that the evidence does not have refuses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Demand {
    pub field: Field,
    pub test: Test,
}

/// A test that does not fit its field (a mask over a number, for one) is never passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Test {
    /// Any one of these, in full. Empty: nothing passes.
    OneOf(BTreeSet<FieldValue>),
    /// The bits under `mask` are those of `value`. Invariant: both are as long as the field, or nothing passes.
    Masked {
        value: Vec<u8>,
        mask: Vec<u8>,
    },
    AtLeast(u64),
    AtMost(u64),
    /// All bits of `set` are 1 and all of `clear` are 0.
    Bits {
        set: u64,
        clear: u64,
    },
}

/// One field that was compared, for whoever reads the verdict.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Comparison {
    pub field: &'static str,
    pub expected: String,
    pub found: String,
}

impl Demand {
    pub fn one(field: Field, value: FieldValue) -> Self {
        Self { field, test: Test::OneOf([value].into()) }
    }

    pub(super) fn holds(&self, code: &CodeIdentity) -> bool {
        match (&self.test, self.field.read(code)) {
            (_, None) => false,
            (Test::OneOf(values), Some(found)) => values.contains(&found),
            (Test::Masked { value, mask }, Some(FieldValue::Bytes(found))) => {
                value.len() == found.len()
                    && mask.len() == found.len()
                    && found.iter().zip(mask).zip(value).all(|((found, mask), value)| found & mask == value & mask)
            }
            (Test::AtLeast(least), Some(FieldValue::Number(found))) => found >= *least,
            (Test::AtMost(most), Some(FieldValue::Number(found))) => found <= *most,
            (Test::Bits { set, clear }, Some(FieldValue::Number(found))) => found & set == *set && found & clear == 0,
            (Test::Masked { .. }, Some(FieldValue::Number(_)))
            | (Test::AtLeast(_) | Test::AtMost(_) | Test::Bits { .. }, Some(FieldValue::Bytes(_))) => false,
        }
    }

    pub(super) fn comparison(&self, code: &CodeIdentity) -> Comparison {
        let found = match (self.field, self.field.read(code)) {
            (_, None) => "none".into(),
            (Field::GuestPolicy, Some(FieldValue::Number(bits))) => {
                format!("{bits:#x} ({})", guest_policy_words(bits & !ABI))
            }
            (_, Some(found)) => found.to_string(),
        };
        Comparison { field: self.field.name(), expected: self.test.to_string(), found }
    }
}

/// The low half of GUEST_POLICY: the least version of the interface.
const ABI: u64 = 0xffff;

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(values) if values.is_empty() => f.write_str("nothing at all"),
            Self::OneOf(values) => {
                let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                f.write_str(&values.join(" or "))
            }
            Self::Masked { value, mask } => write!(f, "{} under the mask {}", hex::encode(value), hex::encode(mask)),
            Self::AtLeast(least) => write!(f, "{least} or higher"),
            Self::AtMost(most) => write!(f, "{most} or lower"),
            Self::Bits { set, clear: 0 } => write!(f, "set: {}", guest_policy_words(*set)),
            Self::Bits { set: 0, clear } => write!(f, "not set: {}", guest_policy_words(*clear)),
            Self::Bits { set, clear } => {
                write!(f, "set: {}; not set: {}", guest_policy_words(*set), guest_policy_words(*clear))
            }
        }
    }
}

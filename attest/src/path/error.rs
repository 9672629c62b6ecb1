//! Why a path was refused: always a typed error, always with what was expected and what was found.

use std::error::Error;
use std::fmt;

use super::open::printable;
use super::{Abort, Fault, TrailerError};
use crate::Reason;
use crate::appraise::AppraisalError;
use crate::evidence::EvidenceError;
use crate::policy::PolicyError;

/// A path that was refused: at which hop, by which check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathError {
    /// 1 is the hop next to the verifier; `None` for what concerns the path as a whole.
    pub hop: Option<u8>,
    pub check: Check,
    /// What was wrong inside the check, where it has parts (an appraisal, a policy).
    pub what: Option<String>,
    pub expected: String,
    pub found: String,
    reason: Reason,
}

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $words:literal, $reason:ident;)*) => {
        /// Everything that can be wrong with a path, one variant a check.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Check { $($(#[$doc])* $name,)* }

        impl Check {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The check in words.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }

            /// The reason, unless what failed inside the check has one of its own.
            const fn reason(self) -> Reason {
                match self { $(Self::$name => Reason::$reason,)* }
            }
        }
    };
}

checks! {
    // The trailer as a whole.
    /// Not deterministic CBOR, too long, or not the structure of a trailer.
    TrailerForm = "form of the trailer", PathForm;
    HopCount = "number of hops", PathForm;
    RecordForm = "form of the record", PathForm;
    BlobSize = "size of a blob", PathForm;
    BlobName = "name of a blob", PathChain;
    BlobUnreferenced = "blob that no record names", PathChain;
    BlobMissing = "blob that a record names", PathChain;
    TrailerKind = "kind of the trailer", Protocol;

    // One record against what the hop above it, or the verifier, expects.
    RecordDigest = "digest of the record", PathChain;
    Key = "key of the record", PathChain;
    Spki = "SPKI of the record", PathChain;
    Signature = "signature of the record", RecordSignature;
    RecordKind = "kind of the record", PathForm;
    Session = "session", Freshness;
    Depth = "depth", PathChain;
    Leg = "leg", PathChain;
    Peer = "client of the leg", PathChain;
    Open = "OPEN of the leg", PathChain;
    Seq = "sequence number", Freshness;
    Challenge = "challenge", Freshness;
    /// The same key twice: a loop, or a path folded onto itself.
    Loop = "key not seen before", Loop;
    /// An attested downstream with no record below it, or a record below one that has none.
    End = "end of the path", PathChain;

    // The evidence of one hop.
    EvidenceDigest = "evidence of the hop", PathChain;
    EvidenceForm = "form of the evidence", EvidenceForm;
    EvidenceKey = "key in the evidence", Binding;
    HopClaims = "claim `inclavared`", EvidenceForm;
    Role = "role", Role;
    NotAfter = "end of the certificate", Expired;
    Appraisal = "appraisal", EvidenceForm;
    Policy = "policy", Unknown;
    BindingLevel = "binding level", BindingLevel;
    /// The policy refuses legs that stood ready before the path was asked for.
    WarmLeg = "age of the leg below", BindingLevel;
    FreshForm = "form of the fresh quote", EvidenceForm;
    FreshTime = "time of the fresh quote", Freshness;
    FreshEnd = "end of the fresh quote", Expired;
    FreshRoot = "legs of the fresh quote", Freshness;
    FreshConfig = "configuration in the fresh quote", ConfigDigest;
    FreshAppraisal = "appraisal of the fresh quote", EvidenceForm;
    FreshIdentity = "identity in the fresh quote", Identity;

    // The path as a whole.
    Shape = "shape of the path", Shape;

    // A refresh or a receipt against the preview.
    SameHops = "hops of the preview", PathChain;
    SameKey = "key of the preview", PathChain;
    SameLeg = "leg of the preview", PathChain;
    SameEvidence = "evidence of the preview", PathChain;
    SameDownstream = "downstream of the preview", PathChain;
    PreviewDigest = "digest of the preview record", PathChain;
    Severed = "severed end", PathChain;
    Receipt = "counters", Receipt;
}

impl PathError {
    pub(super) fn new(hop: Option<u8>, check: Check, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self { hop, check, what: None, expected, found, reason: check.reason() }
    }

    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Hop and check: the error without its values.
    fn place(&self) -> String {
        let hop = self.hop.map_or_else(|| "path".to_owned(), |hop| format!("hop {hop}"));
        format!("{hop}: {}", self.part())
    }

    /// The check, and what of it.
    pub fn part(&self) -> String {
        match &self.what {
            Some(what) => format!("{} ({what})", self.check.name()),
            None => self.check.name().to_owned(),
        }
    }

    /// What a hop tells its own client, when the path that it refused is the one behind that client.
    pub fn behind_the_client(&self) -> Fault {
        let text = format!("the path behind the client: {}", self.place());
        Fault::new(self.reason, &text).with_values(&self.expected, &self.found)
    }

    pub(super) fn of_trailer(error: TrailerError) -> Self {
        let reason = error.reason();
        let (hop, check) = match &error {
            TrailerError::Form(_) => (None, Check::TrailerForm),
            TrailerError::HopCount { limit, found } => {
                return Self::new(None, Check::HopCount, format_args!("1 to {limit}"), found);
            }
            TrailerError::Record { hop, .. } => (Some(*hop), Check::RecordForm),
            TrailerError::BlobSize { limit, found, .. } => {
                let expected = format_args!("at most {limit} bytes").to_string();
                return Self::new(None, Check::BlobSize, expected, found);
            }
            TrailerError::BlobName { name, found } => return Self::new(None, Check::BlobName, name, found),
            TrailerError::BlobUnreferenced { name } => {
                return Self::new(None, Check::BlobUnreferenced, "none", name);
            }
            TrailerError::BlobMissing { name } => return Self::new(None, Check::BlobMissing, name, "none"),
        };
        let found = match &error {
            TrailerError::Record { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        Self { reason, ..Self::new(hop, check, "the form of version 1", found) }
    }

    pub(super) fn of_evidence(hop: u8, check: Check, error: &EvidenceError) -> Self {
        Self {
            reason: error.reason(),
            ..Self::new(Some(hop), check, "evidence in its form", printable(&with_sources(error)))
        }
    }

    pub(super) fn of_appraisal(hop: u8, check: Check, error: AppraisalError) -> Self {
        let AppraisalError { reason, what, expected, found } = error;
        Self { hop: Some(hop), check, what: Some(what), expected, found, reason }
    }

    pub(super) fn of_policy(hop: Option<u8>, check: Check, error: PolicyError) -> Self {
        let what = Some(format!("`{}`, {}", error.policy, error.what));
        Self { hop, check, what, expected: error.expected, found: error.found, reason: error.reason }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.place(), self.expected, self.found)
    }
}

impl Error for PathError {}

impl From<&PathError> for Fault {
    /// What a hop tells its own client of a path that it refused. Whether `expected` may be told is the caller's to judge.
    fn from(error: &PathError) -> Self {
        let text = match error.hop {
            Some(_) => error.part(),
            None => error.place(),
        };
        Self::new(error.reason, &text).with_values(&error.expected, &error.found).about(error.hop)
    }
}

impl From<&PathError> for Abort {
    /// What a client tells the server whose path it refused.
    fn from(error: &PathError) -> Self {
        Self::new(error.reason, Some(&error.place()))
    }
}

/// The check of one value against another.
pub(super) fn same<T: PartialEq + fmt::Display>(
    hop: Option<u8>,
    check: Check,
    expected: T,
    found: T,
) -> Result<(), PathError> {
    if expected == found { Ok(()) } else { Err(PathError::new(hop, check, expected, found)) }
}

/// The error and its sources on one line.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

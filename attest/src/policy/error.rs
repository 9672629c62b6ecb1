//! Why a policy refused.

use super::Policy;
use crate::Reason;

/// A refusal: which policy, which check, what it wanted, what it met.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, serde::Serialize)]
#[error("policy `{policy}`, {what}: expected {expected}, found {found}")]
pub struct PolicyError {
    pub policy: String,
    #[serde(serialize_with = "label")]
    pub reason: Reason,
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl PolicyError {
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl Policy {
    pub(super) fn refuse(
        &self,
        reason: Reason,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> PolicyError {
        PolicyError {
            policy: self.name.clone(),
            reason,
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

fn label<S: serde::Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.label())
}

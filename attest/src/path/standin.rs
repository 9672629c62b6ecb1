//! The few types of policy that path verification needs, until the policy module has them.

use crate::appraise::{Appraised, Root, TcbStatus};
use crate::evidence::Claims;
use crate::policy::{Measurements, Policy, TerminalKind};
use crate::{Reason, Timestamp};

#[derive(Clone, Copy, Debug)]
pub struct HopPlace<'a> {
    pub position: u8,
    pub last: bool,
    pub role: &'a str,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathEnd {
    Terminal(TerminalKind),
    Legacy,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TrustVector([i8; 8]);

impl TrustVector {
    pub fn to_array(self) -> [i8; 8] {
        self.0
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub status: TcbStatus,
    pub trust: TrustVector,
    pub compared: bool,
    pub simulated: bool,
    pub reasons: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("policy `{policy}`: {what}: expected {expected}, found {found}")]
pub struct PolicyError {
    pub policy: String,
    pub reason: Reason,
    pub what: String,
    pub expected: String,
    pub found: String,
}

impl Policy {
    pub fn admit(&self, _: &HopPlace<'_>, appraised: &Appraised, _: &Claims, _: Timestamp) -> Result<Verdict, PolicyError> {
        let refused = |reason: Reason, found: &str| PolicyError {
            policy: self.name.clone(),
            reason,
            what: "root of the evidence".to_owned(),
            expected: "a genuine TEE".to_owned(),
            found: found.to_owned(),
        };
        match appraised.root {
            Root::None if !self.danger_allow_null => return Err(refused(Reason::Null, "none")),
            Root::Simulated if !self.allow_simulated => return Err(refused(Reason::Simulated, "a simulated platform")),
            _ => (),
        }
        Ok(Verdict {
            status: appraised.tcb_status,
            trust: TrustVector::default(),
            compared: self.measurements != Measurements::NotCompared,
            simulated: appraised.root != Root::Intel,
            reasons: Vec::new(),
        })
    }

    pub fn admit_shape(&self, roles: &[&str], end: &PathEnd) -> Result<(), PolicyError> {
        let refused = |expected: String, found: String| PolicyError {
            policy: self.name.clone(),
            reason: Reason::Shape,
            what: "shape".to_owned(),
            expected,
            found,
        };
        let count = roles.len() as u8;
        if count < self.shape.min_hops || count > self.shape.max_hops {
            return Err(refused(format!("{} to {} hops", self.shape.min_hops, self.shape.max_hops), count.to_string()));
        }
        match end {
            PathEnd::Legacy if !self.shape.allow_legacy_end => Err(refused("a hop".to_owned(), "a legacy end".to_owned())),
            PathEnd::Terminal(kind) if !self.shape.terminals.contains(kind) => {
                Err(refused(format!("{:?}", self.shape.terminals), format!("{kind:?}")))
            }
            _ => Ok(()),
        }
    }
}

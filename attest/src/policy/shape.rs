//! The shape of a path: how many hops, in which roles, and what stands at its end.

use super::{ChainShape, PathEnd, Policy, PolicyError, RoleStep, TerminalKind};
use crate::Reason;

/// Hops of a path at most, and so the highest `ttl` (PROTOCOL section 5).
pub const MAX_HOPS: u8 = 16;

impl Policy {
    /// Judges a whole path: the roles from the verifier on, and its end.
    pub fn admit_shape(&self, roles: &[&str], end: &PathEnd) -> Result<(), PolicyError> {
        let shape = &self.shape;
        let (min, max) = (usize::from(shape.min_hops), usize::from(shape.max_hops));
        // A path without hops is no path, whatever the policy says.
        if roles.len() < min.max(1) || roles.len() > max {
            return Err(self.refuse(
                Reason::Shape,
                "number of hops",
                format!("{} to {max}", min.max(1)),
                roles.len().to_string(),
            ));
        }
        if !shape.order.is_empty() && !matches(&shape.order, roles) {
            return Err(self.refuse(Reason::Shape, "order of roles", pattern(&shape.order), listed(roles)));
        }
        self.check_terminal(shape, end)
    }

    fn check_terminal(&self, shape: &ChainShape, end: &PathEnd) -> Result<(), PolicyError> {
        let (allowed, found) = match end {
            PathEnd::Terminal(kind) => (shape.terminals.contains(kind), kind.name()),
            PathEnd::Legacy => (shape.allow_legacy_end, LEGACY),
        };
        if allowed {
            return Ok(());
        }
        let legacy = shape.allow_legacy_end.then_some(LEGACY);
        let expected: Vec<_> = shape.terminals.iter().map(|kind| kind.name()).chain(legacy).collect();
        let expected = if expected.is_empty() { "no end at all".into() } else { expected.join(" or ") };
        Err(self.refuse(Reason::Shape, "end of the path", expected, found))
    }
}

const LEGACY: &str = "an attested peer that does not speak this protocol";

/// Whether the steps, each within its bounds, yield exactly these roles.
///
/// Goes through the steps with the set of prefixes of `roles` that can be reached, so it takes
/// steps x roles x roles at most: no policy and no path makes it backtrack for long.
fn matches(order: &[RoleStep], roles: &[&str]) -> bool {
    let mut reached = vec![false; roles.len() + 1];
    reached[0] = true;
    for step in order {
        let mut next = vec![false; roles.len() + 1];
        for start in (0..=roles.len()).filter(|start| reached[*start]) {
            let run = roles[start..].iter().take_while(|role| **role == step.role).count();
            for count in usize::from(step.min)..=run.min(usize::from(step.max)) {
                next[start + count] = true;
            }
        }
        reached = next;
    }
    reached[roles.len()]
}

fn pattern(order: &[RoleStep]) -> String {
    let steps: Vec<_> = order
        .iter()
        .map(|step| match (step.min, step.max) {
            (1, 1) => step.role.clone(),
            (min, max) => format!("{}{{{min},{max}}}", step.role),
        })
        .collect();
    steps.join(" -> ")
}

fn listed(roles: &[&str]) -> String {
    roles.iter().map(|role| role.escape_debug().to_string()).collect::<Vec<_>>().join(" -> ")
}

impl TerminalKind {
    pub const ALL: [Self; 5] = [Self::Workload, Self::SameTee, Self::TeeLocal, Self::HostLocal, Self::Plain];

    /// The word in policies, records and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::SameTee => "same-tee",
            Self::TeeLocal => "tee-local",
            Self::HostLocal => "host-local",
            Self::Plain => "plain",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(order: &[(&str, u8, u8)]) -> Policy {
        let mut policy = Policy::genuine_only();
        policy.shape.order =
            order.iter().map(|(role, min, max)| RoleStep { role: (*role).into(), min: *min, max: *max }).collect();
        policy
    }

    const END: PathEnd = PathEnd::Terminal(TerminalKind::Workload);

    fn refused(policy: &Policy, roles: &[&str], end: &PathEnd) -> PolicyError {
        let error = policy.admit_shape(roles, end).unwrap_err();
        assert_eq!(error.reason, Reason::Shape);
        error
    }

    #[test]
    fn roles_in_their_order_and_number() {
        let policy = policy(&[("ingress", 1, 1), ("relay", 0, 2), ("workload", 1, 1)]);
        for roles in [
            &["ingress", "workload"][..],
            &["ingress", "relay", "workload"],
            &["ingress", "relay", "relay", "workload"],
        ] {
            policy.admit_shape(roles, &END).unwrap();
        }
        for roles in [
            &["workload"][..],
            &["ingress"],
            &["workload", "ingress"],
            &["ingress", "relay", "relay", "relay", "workload"],
            &["ingress", "other", "workload"],
            &["ingress", "workload", "workload"],
            &["ingress", "workload", "other"],
        ] {
            let error = refused(&policy, roles, &END);
            assert_eq!(error.expected, "ingress -> relay{0,2} -> workload");
            assert_eq!(error.found, roles.join(" -> "));
        }
    }

    #[test]
    fn a_role_in_several_steps_needs_backtracking() {
        let policy = policy(&[("relay", 0, 3), ("relay", 1, 1), ("edge", 0, 1), ("relay", 2, 2)]);
        for count in 3..=6 {
            policy.admit_shape(&vec!["relay"; count], &END).unwrap();
        }
        policy.admit_shape(&["relay", "edge", "relay", "relay"], &END).unwrap();
        for roles in [&["relay"; 2][..], &["relay"; 7], &["relay", "relay", "edge", "relay"]] {
            assert_eq!(refused(&policy, roles, &END).what, "order of roles");
        }
    }

    #[test]
    fn number_of_hops() {
        let mut policy = policy(&[]);
        policy.shape.min_hops = 2;
        policy.shape.max_hops = 3;
        policy.admit_shape(&["any", "thing"], &END).unwrap();
        for count in [0, 1, 4] {
            assert_eq!(refused(&policy, &vec!["x"; count], &END).what, "number of hops");
        }
        policy.shape.min_hops = 0;
        assert_eq!(refused(&policy, &[], &END).what, "number of hops", "no hop is no path");
    }

    #[test]
    fn what_stands_at_the_end() {
        let mut policy = policy(&[]);
        policy.shape.terminals = [TerminalKind::Workload].into();
        policy.shape.allow_legacy_end = false;
        policy.admit_shape(&["x"], &END).unwrap();
        for kind in TerminalKind::ALL.into_iter().skip(1) {
            let error = refused(&policy, &["x"], &PathEnd::Terminal(kind));
            assert_eq!((error.expected.as_str(), error.found.as_str()), ("workload", kind.name()));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        refused(&policy, &["x"], &PathEnd::Legacy);
        policy.shape.allow_legacy_end = true;
        policy.admit_shape(&["x"], &PathEnd::Legacy).unwrap();
    }
}

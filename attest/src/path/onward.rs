//! What a relaying hop makes of an OPEN: whether it may go on, and the OPEN of its own downstream leg.

use super::MAX_HOPS;
use super::open::{MAX_HAVE, Open, VERSION};
use crate::policy::Binding;
use crate::{Digest, KeyId, PolicyDigest, Reason};

/// A relaying hop's own part in the OPEN that it sends on.
#[derive(Clone, Debug)]
pub struct Onward {
    /// The key that it shows below, which is the one of its upstream leg.
    pub kid: KeyId,
    pub binding: Binding,
    /// The most hops that its configuration lets follow it.
    pub max_hops: u8,
    pub route: Option<String>,
    pub policy: Option<PolicyDigest>,
    /// What it has in its cache; what is over [`MAX_HAVE`] is left out.
    pub have: Vec<Digest>,
    /// Its own policy wants every leg below made for this path.
    pub no_warm_legs: bool,
    /// It has not admitted its client, or an admitted client says so of those above.
    pub stranger: bool,
}

/// Why a server does not do what an OPEN asks for. The client's fault, or its configuration's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenRefusal {
    #[error("no version in common: expected {VERSION}, found {found:?}")]
    Version { found: Vec<u64> },
    #[error("key {key} was passed before: the path is a loop")]
    Loop { key: KeyId },
    #[error("no hop may follow: {limit} of {MAX_HOPS} are used up")]
    Ttl { limit: usize },
}

impl OpenRefusal {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Version { .. } => Reason::Version,
            Self::Loop { .. } => Reason::Loop,
            Self::Ttl { .. } => Reason::Ttl,
        }
    }
}

impl Open {
    /// Whether the server may take part in this path at all. `is_own` knows all its live keys, not only the newest.
    pub fn admit(&self, is_own: impl Fn(&KeyId) -> bool) -> Result<(), OpenRefusal> {
        if !self.versions.contains(&VERSION) {
            return Err(OpenRefusal::Version { found: self.versions.clone() });
        }
        // Nobody else would have passed a key twice, either.
        let twice = |(at, key): (usize, &KeyId)| self.visited[..at].contains(key);
        match self.visited.iter().enumerate().find(|&(at, key)| is_own(key) || twice((at, key))) {
            Some((_, key)) => Err(OpenRefusal::Loop { key: *key }),
            None => Ok(()),
        }
    }

    /// The OPEN of the next leg.
    pub fn onward(&self, own: Onward) -> Result<Self, OpenRefusal> {
        let ttl = self.ttl.min(own.max_hops).min(MAX_HOPS).checked_sub(1);
        let room = self.visited.len() < usize::from(MAX_HOPS);
        let (Some(ttl), true) = (ttl, room) else { return Err(OpenRefusal::Ttl { limit: self.visited.len() }) };
        let mut visited = self.visited.clone();
        visited.push(own.kid);
        let mut have = own.have;
        have.truncate(MAX_HAVE);
        Ok(Self {
            versions: vec![VERSION],
            nonce: self.nonce,
            binding: self.binding.max(own.binding),
            route: own.route,
            policy: own.policy,
            ttl,
            visited,
            have,
            no_warm_legs: self.no_warm_legs || own.no_warm_legs,
            stranger: own.stranger,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Nonce;

    const OWN: KeyId = KeyId::from_bytes([1; 32]);

    fn open() -> Open {
        Open {
            versions: vec![7, 1],
            nonce: Nonce::from_bytes([2; 32]),
            binding: Binding::KeyAudit,
            route: Some("above".to_owned()),
            policy: Some(PolicyDigest::from_bytes([3; 32])),
            ttl: 4,
            visited: vec![KeyId::from_bytes([4; 32])],
            have: vec![Digest::from_bytes([5; 32])],
            no_warm_legs: false,
            stranger: false,
        }
    }

    fn own() -> Onward {
        let (route, policy, have) = (None, None, vec![]);
        Onward {
            kid: OWN,
            binding: Binding::Key,
            max_hops: 16,
            route,
            policy,
            have,
            no_warm_legs: false,
            stranger: false,
        }
    }

    #[test]
    fn what_goes_on_is_the_nonce_and_the_stronger_of_everything() {
        let next = open().onward(own()).unwrap();
        let expected = Open {
            versions: vec![1],
            route: None,
            policy: None,
            ttl: 3,
            visited: vec![KeyId::from_bytes([4; 32]), OWN],
            have: vec![],
            ..open()
        };
        assert_eq!(next, expected);
        let stronger = open().onward(Onward { binding: Binding::Quote, max_hops: 2, ..own() }).unwrap();
        assert_eq!((stronger.binding, stronger.ttl), (Binding::Quote, 1));
        for (above, own_policy) in [(true, false), (false, true), (false, false)] {
            let next = Open { no_warm_legs: above, ..open() }.onward(Onward { no_warm_legs: own_policy, ..own() });
            assert_eq!(next.unwrap().no_warm_legs, above || own_policy);
            // Who is a stranger the hop says alone: above it may stand a client that nobody admitted.
            let next = Open { stranger: above, ..open() }.onward(Onward { stranger: own_policy, ..own() });
            assert_eq!(next.unwrap().stranger, own_policy);
        }
        let full = open().onward(Onward { have: vec![Digest::of(b""); 99], ..own() }).unwrap();
        assert_eq!(Open::decode(&full.encode()), Ok(full));
    }

    #[test]
    fn loops_used_up_hops_and_other_versions_are_refused() {
        assert_eq!(open().admit(|key| *key == OWN), Ok(()));
        let looped = open().onward(own()).unwrap();
        assert_eq!(looped.admit(|key| *key == OWN), Err(OpenRefusal::Loop { key: OWN }));
        let twice = Open { visited: vec![KeyId::from_bytes([4; 32]); 2], ..open() };
        assert_eq!(twice.admit(|_| false), Err(OpenRefusal::Loop { key: KeyId::from_bytes([4; 32]) }));
        let other = Open { versions: vec![2, 3], ..open() };
        assert_eq!(other.admit(|_| false), Err(OpenRefusal::Version { found: vec![2, 3] }));
        let refused = |open: Open, own| open.onward(own).unwrap_err();
        assert_eq!(refused(Open { ttl: 0, ..open() }, own()), OpenRefusal::Ttl { limit: 1 });
        assert_eq!(refused(open(), Onward { max_hops: 0, ..own() }), OpenRefusal::Ttl { limit: 1 });
        let full = Open { visited: vec![KeyId::from_bytes([9; 32]); 16], ..open() };
        assert_eq!(refused(full, own()).reason(), Reason::Ttl);
    }
}

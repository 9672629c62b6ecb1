//! Whose a hop is, by the word of an authority that the policy names.

use super::{Policy, PolicyError};
use crate::evidence::Claims;
use crate::named::{NameError, verify_name};
use crate::{Reason, Timestamp};

impl Policy {
    /// The statement in the claims speaks of the key that the evidence speaks of, and of no other.
    pub(super) fn check_name(&self, claims: &Claims, now: Timestamp) -> Result<(), PolicyError> {
        let Some(rule) = &self.named else { return Ok(()) };
        let expected = || rule.uris.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
        let refuse = |reason, found: String| Err(self.refuse(reason, "name", expected(), found));
        let Some(statement) = claims.name() else { return refuse(Reason::Identity, "none".to_owned()) };
        match verify_name(statement, claims.key(), &rule.authorities, now) {
            Ok(named) if named.uris.iter().any(|uri| rule.uris.contains(uri)) => Ok(()),
            Ok(named) if named.uris.is_empty() => refuse(Reason::Identity, "a certificate without a URI".to_owned()),
            Ok(named) => {
                let uris = named.uris.iter().map(|uri| uri.escape_debug().to_string());
                refuse(Reason::Identity, uris.collect::<Vec<_>>().join(", "))
            }
            Err(error @ NameError::Expired(_)) => refuse(Reason::Expired, error.to_string()),
            Err(error) => refuse(Reason::Identity, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;
    use crate::KeyId;
    use crate::named::NamingKey;
    use crate::policy::NameRule;

    const NOW: Timestamp = Timestamp(1_800_000_000);
    const END: Timestamp = Timestamp(1_800_000_060);

    /// A key that is its own authority.
    fn naming(uri: &str) -> (NamingKey, Policy) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.not_after = rcgen::date_time_ymd(2035, 1, 1);
        let issued = params.self_signed(&key).unwrap();
        let naming = NamingKey::from_pem(issued.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let rule = NameRule { authorities: vec![issued.der().to_vec()], uris: ["spiffe://a/b".to_owned()].into() };
        (naming, Policy { named: Some(rule), ..Policy::genuine_only() })
    }

    #[test]
    fn a_name_is_of_the_key_that_the_evidence_speaks_of() {
        let (naming, policy) = naming("spiffe://a/b");
        let (own, other) = (KeyId::from_bytes([1; 32]), KeyId::from_bytes([2; 32]));
        let claims = |of: KeyId| Claims::named(own, None, Some(naming.name(of, END).unwrap()));
        assert_eq!(policy.check_name(&claims(own), NOW), Ok(()));
        let refused = |claims: &Claims, at| policy.check_name(claims, at).unwrap_err();
        // Cut out of another hop's evidence.
        let pasted = refused(&claims(other), NOW);
        assert_eq!((pasted.reason, pasted.what.as_str()), (Reason::Identity, "name"));
        assert_eq!(pasted.found, NameError::Signature.to_string());
        assert_eq!(refused(&Claims::new(own, None), NOW).found, "none");
        assert_eq!(refused(&claims(own), Timestamp(END.0 + 1)).reason, Reason::Expired);
        let junk = Claims::named(own, None, Some(vec![0xa0]));
        assert_eq!(refused(&junk, NOW).reason, Reason::Identity);
        // What a policy does not ask for, nobody reads.
        assert_eq!(Policy::genuine_only().check_name(&junk, NOW), Ok(()));
    }

    #[test]
    fn another_name_is_another() {
        let (naming, policy) = naming("spiffe://a/c");
        let own = KeyId::from_bytes([1; 32]);
        let claims = Claims::named(own, None, Some(naming.name(own, END).unwrap()));
        let error = policy.check_name(&claims, NOW).unwrap_err();
        assert_eq!((error.expected.as_str(), error.found.as_str()), ("spiffe://a/b", "spiffe://a/c"));
        assert_ne!(policy.digest(), Policy::genuine_only().digest());
    }
}

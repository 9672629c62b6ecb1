//! The hop key in service: made, attested and replaced while handshakes go on.
//!
//! A new key serves new handshakes every ten minutes (`hop_key`). A leg keeps the identity with which it was made, and signs its
//! records with it, for as long as it lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use inclavared_attest::attester::Attester;
use inclavared_attest::certificate::{self, HopCertificate};
use inclavared_attest::evidence::HopClaims;
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::named::NamingKey;
use inclavared_attest::{ConfigDigest, KeyId, PolicyDigest, Timestamp};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::error::Error;
use crate::trust::legacy_identity::LegacyService;

/// How long a certificate is valid: a rotation that fails for a while keeps the old key until then.
/// `PROTOCOL.md` section 6 refuses more than an hour.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The version of the claims in the evidence.
const CLAIMS_VERSION: u64 = 1;

/// A hop key with its certificate.
pub struct HopIdentity {
    pub key: HopKey,
    pub certificate: HopCertificate,
    certified: Arc<CertifiedKey>,
    config_digest: ConfigDigest,
}

/// What a route says of itself in its evidence.
#[derive(Clone, Debug)]
pub struct Role {
    pub chain_role: String,
    pub policy_digest: PolicyDigest,
    pub config_digest: ConfigDigest,
}

/// Makes and replaces the identity of one route.
pub struct IdentityService {
    attester: Arc<dyn Attester>,
    role: Role,
    naming: Option<Arc<NamingKey>>,
    current: ArcSwapOption<HopIdentity>,
    /// Every identity that a leg still holds, to recognise a path that comes back.
    live: Mutex<HashMap<KeyId, Weak<HopIdentity>>>,
    /// Some on a route of `compat`.
    legacy: OnceLock<Arc<LegacyService>>,
}

impl HopIdentity {
    /// For rustls: the certificate and the key as its signer.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// Under which its legs run, as its evidence says.
    pub fn config_digest(&self) -> ConfigDigest {
        self.config_digest
    }
}

impl std::fmt::Debug for HopIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HopIdentity({})", self.key.kid())
    }
}

impl IdentityService {
    /// Makes the first identity: a process that cannot attest does not start to listen. Blocks for a quote.
    pub fn start(attester: Arc<dyn Attester>, role: Role, now: Timestamp) -> Result<Self, Error> {
        Self::start_named(attester, role, None, now)
    }

    /// [`start`](Self::start), with an authority that names every key.
    pub fn start_named(
        attester: Arc<dyn Attester>,
        role: Role,
        naming: Option<Arc<NamingKey>>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let (current, live, legacy) = (ArcSwapOption::empty(), Mutex::default(), OnceLock::new());
        let service = Self { attester, role, naming, current, live, legacy };
        service.rotate(now)?;
        Ok(service)
    }

    /// Makes a new identity. On failure the old one stays in service until it expires. Blocks for a quote.
    pub fn rotate(&self, now: Timestamp) -> Result<(), Error> {
        let internal = |what: &str, error: &dyn std::error::Error| {
            let mut line = format!("{what}: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                line.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            Error::Internal(line)
        };
        let key = HopKey::generate().map_err(|e| internal("making a hop key", &e))?;
        let claims = HopClaims {
            version: CLAIMS_VERSION,
            chain_role: self.role.chain_role.clone(),
            policy_digest: self.role.policy_digest,
            not_after: now.plus(LIFETIME),
            config_digest: self.role.config_digest,
        };
        let name = self.naming.as_ref().map(|naming| naming.name(key.kid(), claims.not_after)).transpose();
        let name = name.map_err(|e| internal("naming a hop key", &e))?;
        let certificate = certificate::issue_named(&key, &*self.attester, claims, name, now)
            .map_err(|e| internal("having a hop key attested", &e))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8_der().to_vec()));
        let signer = any_ecdsa_type(&private).map_err(|e| internal("using a hop key", &e))?;
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let certified = Arc::new(CertifiedKey::new(chain, signer));
        let config_digest = self.role.config_digest;
        let identity = Arc::new(HopIdentity { key, certificate, certified, config_digest });
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|_, identity| identity.strong_count() > 0);
        live.insert(identity.key.kid(), Arc::downgrade(&identity));
        self.current.store(Some(identity));
        Ok(())
    }

    /// The identity for a new leg. An expired one is never shown: then new handshakes are refused.
    pub fn current(&self, now: Timestamp) -> Result<Arc<HopIdentity>, Error> {
        self.current
            .load_full()
            .filter(|identity| now < identity.certificate.not_after())
            .ok_or_else(|| Error::Internal("no valid hop key: the attester has failed since the last one".to_owned()))
    }

    /// Whether this key is, or was, ours and still holds a leg.
    pub fn is_mine(&self, kid: &KeyId) -> bool {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.get(kid).is_some_and(|identity| identity.strong_count() > 0)
    }

    /// Has a certificate in the old form as well. Blocks for a key and a quote.
    pub fn start_legacy(&self, now: Timestamp) -> Result<(), Error> {
        let service = LegacyService::start(Arc::clone(&self.attester), now)?;
        // Said twice, the first stays.
        let _ = self.legacy.set(service);
        Ok(())
    }

    pub fn legacy(&self) -> Option<&Arc<LegacyService>> {
        self.legacy.get()
    }

    pub fn attester(&self) -> &Arc<dyn Attester> {
        &self.attester
    }

    pub fn role(&self) -> &Role {
        &self.role
    }
}

impl std::fmt::Debug for IdentityService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityService").field("attester", &self.attester).field("role", &self.role).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use inclavared_attest::attester::{AttesterError, UserData};
    use inclavared_attest::evidence::EvidenceTag;
    use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};

    use super::*;

    /// A simulated platform that can be told to fail.
    #[derive(Debug)]
    struct Moody(SimAttester, AtomicBool);

    impl Attester for Moody {
        fn name(&self) -> &'static str {
            self.0.name()
        }

        fn tag(&self) -> EvidenceTag {
            self.0.tag()
        }

        fn quote(&self, user_data: &UserData) -> Result<Vec<u8>, AttesterError> {
            match self.1.load(Ordering::Relaxed) {
                true => Err(AttesterError::Answer { attester: "sim", what: "told to fail".to_owned() }),
                false => self.0.quote(user_data),
            }
        }
    }

    fn service(now: Timestamp) -> (IdentityService, Arc<Moody>) {
        let platform = Arc::new(SimPlatform::generate(now).unwrap());
        let sim = SimAttester::new(&platform, SimSpec::sgx("a hop")).unwrap();
        let attester = Arc::new(Moody(sim, AtomicBool::new(false)));
        let role = Role {
            chain_role: "relay".to_owned(),
            policy_digest: PolicyDigest::of(b""),
            config_digest: ConfigDigest::of(b""),
        };
        (IdentityService::start(Arc::clone(&attester) as _, role, now).unwrap(), attester)
    }

    #[test]
    fn an_old_key_is_ours_while_a_leg_holds_it() {
        let now = Timestamp::now();
        let (service, _) = service(now);
        let old = service.current(now).unwrap();
        service.rotate(now).unwrap();
        let (kept, new) = (old.key.kid(), service.current(now).unwrap().key.kid());
        assert_ne!(kept, new);
        assert!(service.is_mine(&kept) && service.is_mine(&new));
        drop(old);
        assert!(!service.is_mine(&kept) && service.is_mine(&new));
    }

    #[test]
    fn a_failed_rotation_keeps_the_old_key_until_it_expires_and_no_longer() {
        let now = Timestamp::now();
        let (service, attester) = service(now);
        let kid = service.current(now).unwrap().key.kid();
        attester.1.store(true, Ordering::Relaxed);
        let error = service.rotate(now.plus(Duration::from_secs(600))).unwrap_err();
        assert!(error.to_string().contains("told to fail"), "{error}");
        assert_eq!(service.current(now.plus(LIFETIME - Duration::from_secs(1))).unwrap().key.kid(), kid);
        assert!(matches!(service.current(now.plus(LIFETIME)), Err(Error::Internal(_))));
    }
}

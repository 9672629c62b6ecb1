//! The key and certificate in the old form: made at the start, and anew as the hop key is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use inclavared_attest::Timestamp;
use inclavared_attest::attester::Attester;
use inclavared_attest::certificate::{LegacyKey, issue_legacy};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::error::Error;
use crate::trust::blocking::BlockingPool;

/// How long one serves new sessions: as a hop key does by default.
const ROTATION: Duration = Duration::from_secs(10 * 60);

/// How long a certificate is valid: a renewal that fails for a while keeps the old one until then. Its quote states no end
/// of its own, as the form has no claims.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// What clients of the original's kind are shown.
#[derive(Debug)]
pub struct LegacyService {
    attester: Arc<dyn Attester>,
    current: ArcSwapOption<Made>,
    renewing: AtomicBool,
}

#[derive(Debug)]
struct Made {
    key: Arc<CertifiedKey>,
    at: Timestamp,
}

impl LegacyService {
    /// Makes the first: a process that cannot attest does not start to listen. Blocks for a key and a quote.
    pub fn start(attester: Arc<dyn Attester>, now: Timestamp) -> Result<Arc<Self>, Error> {
        let service = Self { attester, current: ArcSwapOption::empty(), renewing: AtomicBool::new(false) };
        service.renew(now)?;
        Ok(Arc::new(service))
    }

    /// For a new session. One that is due for renewal is renewed behind it, on the pool; an expired one is never shown.
    pub(crate) fn current(self: &Arc<Self>, now: Timestamp, pool: &BlockingPool) -> Result<Arc<CertifiedKey>, Error> {
        let made = self.current.load_full();
        if made.as_ref().is_none_or(|made| now >= made.at.plus(ROTATION)) {
            self.renew_behind(now, pool);
        }
        let valid = made.filter(|made| now < made.at.plus(LIFETIME));
        let none = || Error::Internal("no valid certificate in the old form: the attester has failed".to_owned());
        valid.map(|made| Arc::clone(&made.key)).ok_or_else(none)
    }

    fn renew_behind(self: &Arc<Self>, now: Timestamp, pool: &BlockingPool) {
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let service = Arc::clone(self);
        let renew = move || {
            if let Err(error) = service.renew(now) {
                tracing::warn!(error = error.one_line(), "the certificate in the old form was not renewed");
            }
            service.renewing.store(false, Ordering::Release);
        };
        if pool.spawn(renew).is_err() {
            // The next session tries again.
            self.renewing.store(false, Ordering::Release);
        }
    }

    fn renew(&self, now: Timestamp) -> Result<(), Error> {
        let failed = |what: &str, error: &dyn std::fmt::Display| Error::Internal(format!("{what}: {error}"));
        let key = LegacyKey::generate().map_err(|e| failed("making an RSA key", &e))?;
        let der = issue_legacy(&key, &*self.attester, now, LIFETIME).map_err(|e| {
            let cause = std::error::Error::source(&e).map_or_else(String::new, |cause| format!(": {cause}"));
            failed("having an RSA key attested", &format!("{e}{cause}"))
        })?;
        let pkcs8 = key.pkcs8_der().map_err(|e| failed("using an RSA key", &e))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
        let signer = any_supported_type(&private).map_err(|e| failed("using an RSA key", &e))?;
        let key = Arc::new(CertifiedKey::new(vec![CertificateDer::from(der)], signer));
        self.current.store(Some(Arc::new(Made { key, at: now })));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};

    use super::*;

    #[test]
    fn an_old_one_is_shown_until_it_ends_and_renewed_meanwhile() {
        let now = Timestamp::now();
        let platform = Arc::new(SimPlatform::generate(now).unwrap());
        let attester = Arc::new(SimAttester::new(&platform, SimSpec::sgx("a hop")).unwrap());
        let service = LegacyService::start(attester, now).unwrap();
        let (pool, _threads) = BlockingPool::new(1, 1).unwrap();
        let first = service.current(now, &pool).unwrap();
        let later = now.plus(ROTATION);
        assert!(Arc::ptr_eq(&first, &service.current(later, &pool).unwrap()), "shown while the next is made");
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while Arc::ptr_eq(&first, &service.current(later, &pool).unwrap()) && std::time::Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        assert!(!Arc::ptr_eq(&first, &service.current(later, &pool).unwrap()), "renewed");
        let refused = service.current(later.plus(LIFETIME), &pool).unwrap_err();
        assert!(matches!(refused, Error::Internal(_)), "{refused}");
    }
}

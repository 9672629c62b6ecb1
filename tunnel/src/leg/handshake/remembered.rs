//! Certificate paths that were verified before: the same certificates, under the same authorities, are not verified
//! again as long as all of them are valid. What is different each time is checked each time: the key's possession
//! (CertificateVerify), which is the larger part of what a certificate proves.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// A verifier that remembers its last good answers. One is made for each set of authorities, and dropped with it.
///
/// That an answer may be given again rests on what it depends on: the bytes of the certificates and the name (the key of
/// the memory), the authorities (the verifier's own), and the time (the window in which every certificate is valid).
/// Whoever adds revocation must add what it depends on.
#[derive(Debug)]
pub(super) struct Remembered<V: ?Sized> {
    paths: Mutex<HashMap<PathName, Window>>,
    inner: Arc<V>,
}

type PathName = [u8; SHA256_OUTPUT_LEN];

/// Paths that are remembered at once; then all are forgotten. Only who has a certificate of an authority adds to them.
const MOST: usize = 1024;

impl<V: ?Sized> Remembered<V> {
    pub(super) fn new(inner: Arc<V>) -> Arc<Self> {
        Arc::new(Self { paths: Mutex::default(), inner })
    }

    fn verified(
        &self,
        leaf: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        name: &[u8],
        now: UnixTime,
        verify: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = path_name(leaf, more, name);
        if self.lock().get(&path).is_some_and(|window| window.holds(now)) {
            return Ok(());
        }
        verify()?;
        if let Some(window) = Window::of(leaf, more) {
            let mut paths = self.lock();
            if paths.len() >= MOST {
                paths.clear();
            }
            paths.insert(path, window);
        }
        Ok(())
    }

    /// Taken once a handshake; a panic elsewhere leaves nothing half-done in it.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathName, Window>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When every certificate of a path is valid, in seconds since 1970, both ends included.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: i64,
    to: i64,
}

impl Window {
    /// None: a certificate that cannot be read here, and so is verified each time.
    fn of(leaf: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Option<Self> {
        let mut window = Self { from: i64::MIN, to: i64::MAX };
        for certificate in [leaf].into_iter().chain(more) {
            let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
            let validity = certificate.validity();
            window.from = window.from.max(validity.not_before.timestamp());
            window.to = window.to.min(validity.not_after.timestamp());
        }
        Some(window)
    }

    fn holds(self, now: UnixTime) -> bool {
        i64::try_from(now.as_secs()).is_ok_and(|now| (self.from..=self.to).contains(&now))
    }
}

/// A digest over each part and its length, so that no two paths have one name.
fn path_name(leaf: &CertificateDer<'_>, more: &[CertificateDer<'_>], name: &[u8]) -> PathName {
    let mut digest = Context::new(&SHA256);
    for part in [name, leaf].into_iter().chain(more.iter().map(|certificate| &**certificate)) {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut path = [0; SHA256_OUTPUT_LEN];
    path.copy_from_slice(digest.finish().as_ref());
    path
}

impl ClientCertVerifier for Remembered<dyn ClientCertVerifier> {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verify = || self.inner.verify_client_cert(end_entity, intermediates, now).map(drop);
        self.verified(end_entity, intermediates, b"", now, verify).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Remembered<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify =
            || self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map(drop);
        let name = server_name.to_str();
        self.verified(end_entity, intermediates, name.as_bytes(), now, verify).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    /// A certificate that is valid in `days`, counted from 1970.
    fn certificate(name: &str, days: std::ops::Range<i64>) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let day = |day: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(day as u64 * 86_400);
        (params.not_before, params.not_after) = (day(days.start), day(days.end));
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn day(day: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(day * 86_400))
    }

    /// Counts how often the verifier behind the memory is asked.
    #[derive(Default)]
    struct Asked(Cell<u32>);

    impl Asked {
        fn answer(&self, result: Result<(), Error>) -> impl FnOnce() -> Result<(), Error> {
            self.0.set(self.0.get() + 1);
            move || result
        }
    }

    fn memory() -> Arc<Remembered<str>> {
        Remembered::new(Arc::from(""))
    }

    fn ask(
        memory: &Remembered<str>,
        chain: &[&CertificateDer<'static>],
        name: &str,
        at: u64,
        good: bool,
    ) -> (bool, bool) {
        let asked = Asked::default();
        let more: Vec<_> = chain[1..].iter().map(|&certificate| certificate.clone()).collect();
        let result = memory.verified(chain[0], &more, name.as_bytes(), day(at), || {
            asked.answer(if good { Ok(()) } else { Err(Error::General("no".into())) })()
        });
        (result.is_ok(), asked.0.get() == 1)
    }

    #[test]
    fn a_path_is_verified_once_while_all_of_it_is_valid() {
        let (memory, leaf, authority) = (memory(), certificate("leaf", 10..30), certificate("authority", 20..40));
        let path = [&leaf, &authority];
        assert_eq!(ask(&memory, &path, "a", 25, true), (true, true));
        // From here on the verifier would refuse: only the memory says yes.
        assert_eq!(ask(&memory, &path, "a", 25, false), (true, false));
        assert_eq!(ask(&memory, &path, "a", 20, false), (true, false));
        assert_eq!(ask(&memory, &path, "a", 30, false), (true, false));
        assert_eq!(ask(&memory, &path, "a", 19, false), (false, true), "the authority is not valid yet");
        assert_eq!(ask(&memory, &path, "a", 31, false), (false, true), "the leaf has expired");
    }

    #[test]
    fn another_name_or_path_is_another() {
        let (memory, leaf, other) = (memory(), certificate("leaf", 10..30), certificate("leaf", 10..30));
        assert_eq!(ask(&memory, &[&leaf], "a", 20, true), (true, true));
        for (path, name) in [(&[&leaf][..], "b"), (&[&other], "a"), (&[&leaf, &other], "a"), (&[&other, &leaf], "a")] {
            assert_eq!(ask(&memory, path, name, 20, false), (false, true));
        }
    }

    #[test]
    fn refusals_and_what_cannot_be_read_are_not_remembered() {
        let (memory, leaf) = (memory(), certificate("leaf", 10..30));
        assert_eq!(ask(&memory, &[&leaf], "a", 20, false), (false, true));
        assert_eq!(ask(&memory, &[&leaf], "a", 20, true), (true, true));
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(ask(&memory, &[&garbage], "a", 20, true), (true, true));
        assert_eq!(ask(&memory, &[&garbage], "a", 20, false), (false, true));
    }

    #[test]
    fn the_memory_is_bounded() {
        let (memory, leaf) = (memory(), certificate("leaf", 10..30));
        for name in 0..2 * MOST + 1 {
            assert!(ask(&memory, &[&leaf], &name.to_string(), 20, true).0);
            assert!(memory.lock().len() <= MOST);
        }
    }
}

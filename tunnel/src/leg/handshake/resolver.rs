//! Hands rustls the identity that was chosen for this leg.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// One certificate, chosen before the handshake: the key with which a leg is made signs that leg's records.
#[derive(Debug)]
pub(super) struct Fixed {
    key: Arc<CertifiedKey>,
    shown: AtomicBool,
}

impl Fixed {
    pub(super) fn new(key: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self { key, shown: AtomicBool::new(false) })
    }

    /// Whether the peer asked for the certificate, and so has seen it.
    pub(super) fn was_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }

    fn show(&self) -> Arc<CertifiedKey> {
        self.shown.store(true, Ordering::Relaxed);
        Arc::clone(&self.key)
    }
}

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.show())
    }
}

impl ResolvesClientCert for Fixed {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key.key.choose_scheme(schemes)?;
        Some(self.show())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

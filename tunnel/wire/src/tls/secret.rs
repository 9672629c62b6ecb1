//! One secret of the key schedule, and what is derived from it (RFC 8446 section 7).

use aws_lc_rs::aead::{self, AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305};
use aws_lc_rs::digest::{self, SHA256, SHA384};
use aws_lc_rs::hkdf::{HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::CipherSuite;
use zeroize::Zeroizing;

use super::error::TlsError;

/// The algorithms of one cipher suite.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) aead: &'static aead::Algorithm,
    pub(super) hash: &'static digest::Algorithm,
}

static AES_128_GCM_SHA256: Suite = Suite { aead: &AES_128_GCM, hash: &SHA256 };
static AES_256_GCM_SHA384: Suite = Suite { aead: &AES_256_GCM, hash: &SHA384 };
static CHACHA20_POLY1305_SHA256: Suite = Suite { aead: &CHACHA20_POLY1305, hash: &SHA256 };

impl Suite {
    pub(super) fn of(suite: CipherSuite) -> Result<&'static Self, TlsError> {
        match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Ok(&AES_128_GCM_SHA256),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Ok(&AES_256_GCM_SHA384),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Ok(&CHACHA20_POLY1305_SHA256),
            _ => Err(TlsError::Internal("a cipher suite that the record layer does not know")),
        }
    }

    /// The suite by its AEAD alone, for keys that no handshake made.
    #[cfg(test)]
    pub(super) fn with(aead: &'static aead::Algorithm) -> &'static Self {
        let suites = [&AES_128_GCM_SHA256, &AES_256_GCM_SHA384, &CHACHA20_POLY1305_SHA256];
        suites.into_iter().find(|suite| suite.aead == aead).unwrap()
    }
}

/// As long as its suite's hash; wiped when dropped.
pub(super) struct Secret {
    suite: &'static Suite,
    bytes: Zeroizing<[u8; MAX_HASH]>,
}

impl Secret {
    pub(super) fn new(suite: &'static Suite, secret: &[u8]) -> Result<Self, TlsError> {
        if secret.len() != suite.hash.output_len() {
            return Err(TlsError::Internal("a secret of another length than the suite's hash"));
        }
        let mut bytes = Zeroizing::new([0; MAX_HASH]);
        bytes[..secret.len()].copy_from_slice(secret);
        Ok(Self { suite, bytes })
    }

    pub(super) fn suite(&self) -> &'static Suite {
        self.suite
    }

    /// HKDF-Expand-Label to another secret.
    pub(super) fn next(&self, label: &[u8], context: &[u8]) -> Self {
        let mut bytes = Zeroizing::new([0; MAX_HASH]);
        self.expand(label, context, &mut bytes[..self.suite.hash.output_len()]);
        Self { suite: self.suite, bytes }
    }

    /// HKDF-Expand-Label (RFC 8446 section 7.1).
    ///
    /// # Panics
    /// If the label is longer than [`MAX_LABEL`], or `out` than 255 hashes; a context is a hash or nothing.
    pub(super) fn expand(&self, label: &[u8], context: &[u8], out: &mut [u8]) {
        let hash = self.suite.hash.output_len();
        assert!(label.len() <= MAX_LABEL && out.len() <= 255 * hash, "a derivation that TLS has not");
        let algorithm = if self.suite.hash == &SHA384 { HKDF_SHA384 } else { HKDF_SHA256 };
        let prk = Prk::new_less_safe(algorithm, &self.bytes[..hash]);
        // The casts hold, by the assertion and for a context being a hash.
        let length = (out.len() as u16).to_be_bytes();
        let label_length = [(LABEL_PREFIX.len() + label.len()) as u8];
        let context_length = [context.len() as u8];
        let info = [&length[..], &label_length, LABEL_PREFIX, label, &context_length, context];
        prk.expand(&info, Length(out.len()))
            .and_then(|okm| okm.fill(out))
            .expect("an output of at most 255 hashes, into a buffer of its length");
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

const LABEL_PREFIX: &[u8] = b"tls13 ";
pub(super) const MAX_LABEL: usize = 255 - LABEL_PREFIX.len();
/// SHA-384 is the longest of the suites.
const MAX_HASH: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_fits_its_suite() {
        for (suite, length) in [(&AES_256_GCM_SHA384, 32), (&AES_128_GCM_SHA256, 48), (&CHACHA20_POLY1305_SHA256, 0)] {
            assert!(matches!(Secret::new(suite, &vec![0; length]), Err(TlsError::Internal(_))));
        }
    }
}

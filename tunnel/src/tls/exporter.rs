//! TLS-Exporter (RFC 8446 section 7.5), over the exporter secret that the handshake leaves.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256, SHA384};
use aws_lc_rs::hkdf::{HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::CipherSuite;
use zeroize::Zeroizing;

use super::error::TlsError;

/// Derives values that both ends of one session share and nobody else knows. Its secret is wiped when it is dropped:
/// take what is needed, and drop it before the session's data flows.
pub struct Exporter {
    hash: &'static digest::Algorithm,
    secret: Zeroizing<Vec<u8>>,
}

impl Exporter {
    pub(super) fn new(suite: CipherSuite, secret: Zeroizing<Vec<u8>>) -> Result<Self, TlsError> {
        let hash = match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => &SHA256,
            CipherSuite::TLS13_AES_256_GCM_SHA384 => &SHA384,
            _ => return Err(TlsError::Internal("a cipher suite that the record layer does not know")),
        };
        if secret.len() != hash.output_len() {
            return Err(TlsError::Internal("an exporter secret of the wrong length"));
        }
        Ok(Self { hash, secret })
    }

    /// Fills `out`; no context and an empty one are the same in TLS 1.3.
    ///
    /// # Panics
    /// If `label` is longer than 249 bytes or `out` longer than 255 hashes: both are the program's own constants,
    /// never a peer's choice.
    pub fn derive(&self, label: &'static [u8], context: &[u8], out: &mut [u8]) {
        assert!(label.len() <= MAX_LABEL && out.len() <= 255 * self.hash.output_len(), "an exporter that TLS has not");
        let mut derived = Zeroizing::new([0; digest::MAX_OUTPUT_LEN]);
        let derived = &mut derived[..self.hash.output_len()];
        self.expand_label(&self.secret, label, digest::digest(self.hash, b"").as_ref(), derived);
        self.expand_label(derived, b"exporter", digest::digest(self.hash, context).as_ref(), out);
    }

    /// HKDF-Expand-Label (RFC 8446 section 7.1).
    fn expand_label(&self, secret: &[u8], label: &[u8], context: &[u8], out: &mut [u8]) {
        let algorithm = if self.hash == &SHA384 { HKDF_SHA384 } else { HKDF_SHA256 };
        let prk = Prk::new_less_safe(algorithm, secret);
        // The casts hold: `derive` bounds label and output, and a context is a hash.
        let length = (out.len() as u16).to_be_bytes();
        let label_length = [(LABEL_PREFIX.len() + label.len()) as u8];
        let context_length = [context.len() as u8];
        let info = [&length[..], &label_length, LABEL_PREFIX, label, &context_length, context];
        prk.expand(&info, Length(out.len()))
            .and_then(|okm| okm.fill(out))
            .expect("an output of at most 255 hashes, into a buffer of its length");
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter { .. }")
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

const LABEL_PREFIX: &[u8] = b"tls13 ";
const MAX_LABEL: usize = 255 - LABEL_PREFIX.len();

#[cfg(test)]
mod tests {
    use super::*;

    /// The trace of RFC 8448 section 3: its exporter master secret, and a value derived from it by an independent
    /// implementation of section 7.5 (Python's hmac and hashlib).
    #[test]
    fn rfc_8448_exporter_secret() {
        let secret = hex::decode("fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50").unwrap();
        let exporter = Exporter::new(CipherSuite::TLS13_AES_128_GCM_SHA256, Zeroizing::new(secret)).unwrap();
        let mut out = [0; 32];
        exporter.derive(b"EXPORTER-test", b"context", &mut out);
        assert_eq!(hex::encode(out), "d98f7eb35bae6789e22c04a84294d6f921d8807a878c9ed6f04d2a3d8c96d8d7");
        let mut long = [0; 100];
        exporter.derive(b"EXPORTER-test", b"", &mut long);
        assert_eq!(
            hex::encode(long),
            "325b175542c94f3dcd3710321adf900bfb3879afdc97e662158ddc2f115140ad09892c9872844e301c94b10bf1b243c098972eb0a81b482a5fc661c1b288b0411db227204f37101da0b25cda2e0da03dc757aa14c725838051afa455f51519eb17f97bcb"
        );
    }

    #[test]
    fn secret_must_fit_the_suite() {
        let short = Exporter::new(CipherSuite::TLS13_AES_256_GCM_SHA384, Zeroizing::new(vec![0; 32]));
        assert!(matches!(short, Err(TlsError::Internal(_))));
    }
}

//! TLS-Exporter (RFC 8446 section 7.5), over the exporter secret that the handshake leaves.

use std::fmt;

use aws_lc_rs::digest;

use super::error::TlsError;
use super::secret::{Secret, Suite};

/// Derives values that both ends of one session share and nobody else knows. Its secret is wiped when it is dropped:
/// take what is needed, and drop it before the session's data flows.
pub struct Exporter(Secret);

impl Exporter {
    pub(super) fn new(suite: &'static Suite, secret: &[u8]) -> Result<Self, TlsError> {
        Secret::new(suite, secret).map(Self)
    }

    /// Fills `out`; no context and an empty one are the same in TLS 1.3.
    ///
    /// # Panics
    /// If `label` is longer than 249 bytes or `out` longer than 255 hashes: both are the program's own constants,
    /// never a peer's choice.
    pub fn derive(&self, label: &'static [u8], context: &[u8], out: &mut [u8]) {
        let hash = |bytes| digest::digest(self.0.suite().hash, bytes);
        self.0.next(label, hash(b"").as_ref()).expand(b"exporter", hash(context).as_ref(), out);
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter { .. }")
    }
}

#[cfg(test)]
mod tests {
    use rustls::CipherSuite;

    use super::*;

    /// The trace of RFC 8448 section 3: its exporter master secret, and a value derived from it by an independent
    /// implementation of section 7.5 (Python's hmac and hashlib).
    #[test]
    fn rfc_8448_exporter_secret() {
        let secret = hex::decode("fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50").unwrap();
        let exporter = Exporter::new(Suite::of(CipherSuite::TLS13_AES_128_GCM_SHA256).unwrap(), &secret).unwrap();
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
}

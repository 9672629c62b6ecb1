//! Signatures of hop keys, and the one encoding of their public half.

use crate::crypto::{P256_SPKI_PREFIX, Scheme, verifies};

/// Whether `signature` (`r || s`) over `message` is by the key in `spki`. `false` for every other kind or encoding of key.
pub fn verify_es256(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some(point) = p256_point(spki) else {
        return false;
    };
    verifies(Scheme::P256Sha256Fixed, point, message, signature)
}

/// The uncompressed point of a P-256 SubjectPublicKeyInfo in the one encoding that RFC 5480 leaves when the curve is
/// named and the point is not compressed. Whether it lies on the curve is checked when it is used.
pub fn p256_point(spki: &[u8]) -> Option<&[u8]> {
    let point = spki.strip_prefix(P256_SPKI_PREFIX)?;
    (point.len() == P256_POINT_LEN && point[0] == UNCOMPRESSED).then_some(point)
}

const P256_POINT_LEN: usize = 65;
const UNCOMPRESSED: u8 = 4;

//! One direction's key with its sequence number, and where the next key comes from.

use std::fmt;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;
use zeroize::Zeroizing;

use super::error::TlsError;
use super::record::{HEADER, RecordError, TAG};
use super::secret::{Secret, Suite};

/// One traffic key, its IV, and the number of records it has served.
///
/// Invariant: `seq` is the sequence number of the next record; it never repeats under one key.
pub(super) struct TrafficKey {
    key: LessSafeKey,
    iv: Zeroizing<[u8; NONCE_LEN]>,
    seq: u64,
}

impl TrafficKey {
    pub(super) fn new(secrets: &ConnectionTrafficSecrets, seq: u64) -> Result<Self, RecordError> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(RecordError::Crypto),
        };
        let iv = iv.as_ref().try_into().map_err(|_| RecordError::Crypto)?;
        Self::from_parts(algorithm, key.as_ref(), iv, seq)
    }

    pub(super) fn from_parts(
        algorithm: &'static Algorithm,
        key: &[u8],
        iv: [u8; NONCE_LEN],
        seq: u64,
    ) -> Result<Self, RecordError> {
        let key = UnboundKey::new(algorithm, key).map_err(|_| RecordError::Crypto)?;
        Ok(Self { key: LessSafeKey::new(key), iv: Zeroizing::new(iv), seq })
    }

    /// How many records this key has opened or sealed.
    pub(super) fn used(&self) -> u64 {
        self.seq
    }

    /// Opens `body`, ciphertext and tag, in place; gives the length of the plaintext, which is at its start.
    pub(super) fn open(&mut self, header: [u8; HEADER], body: &mut [u8]) -> Result<usize, RecordError> {
        let nonce = self.nonce()?;
        let plain = self.key.open_in_place(nonce, Aad::from(header), body).map_err(|_| RecordError::BadMac)?;
        self.seq += 1;
        Ok(plain.len())
    }

    /// Seals `body` in place, and gives the tag that follows it.
    pub(super) fn seal(&mut self, header: [u8; HEADER], body: &mut [u8]) -> Result<[u8; TAG], RecordError> {
        let nonce = self.nonce()?;
        let tag =
            self.key.seal_in_place_separate_tag(nonce, Aad::from(header), body).map_err(|_| RecordError::Crypto)?;
        self.seq += 1;
        tag.as_ref().try_into().map_err(|_| RecordError::Crypto)
    }

    /// RFC 8446 section 5.3: the IV, XORed with the sequence number. Sequence numbers never wrap.
    fn nonce(&self) -> Result<Nonce, RecordError> {
        if self.seq == u64::MAX {
            return Err(RecordError::KeyUsedUp);
        }
        let mut nonce = *self.iv;
        for (byte, seq) in nonce[4..].iter_mut().zip(self.seq.to_be_bytes()) {
            *byte ^= seq;
        }
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

/// Where the keys of one direction come from: its application traffic secret.
pub(super) struct TrafficSecret(Secret);

impl TrafficSecret {
    pub(super) fn new(suite: &'static Suite, secret: &[u8]) -> Result<Self, TlsError> {
        Secret::new(suite, secret).map(Self)
    }

    /// The key after a KeyUpdate (RFC 8446 section 7.2). The secret before it is wiped.
    pub(super) fn next(&mut self) -> Result<TrafficKey, RecordError> {
        self.0 = self.0.next(b"traffic upd", b"");
        self.key()
    }

    /// RFC 8446 section 7.3.
    fn key(&self) -> Result<TrafficKey, RecordError> {
        let algorithm = self.0.suite().aead;
        let mut key = Zeroizing::new([0; MAX_KEY]);
        let key = key.get_mut(..algorithm.key_len()).ok_or(RecordError::Crypto)?;
        self.0.expand(b"key", b"", key);
        let mut iv = Zeroizing::new([0; NONCE_LEN]);
        self.0.expand(b"iv", b"", &mut *iv);
        TrafficKey::from_parts(algorithm, key, *iv, 0)
    }
}

impl fmt::Debug for TrafficSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficSecret { .. }")
    }
}

/// The longest key of an AEAD of TLS 1.3, bytes.
const MAX_KEY: usize = 32;

#[cfg(test)]
impl TrafficSecret {
    /// Alike wherever it is made: two of these talk to each other.
    pub(super) fn for_test(algorithm: &'static Algorithm) -> Self {
        let suite = Suite::with(algorithm);
        Self::new(suite, &vec![7; suite.hash.output_len()]).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nonce of RFC 8446 section 5.3, checked against one computed by hand.
    #[test]
    fn nonce_is_the_iv_xored_with_the_sequence_number() {
        let iv = [0x5d, 0x31, 0x3e, 0xb2, 0x67, 0x12, 0x76, 0xee, 0x13, 0x00, 0x0b, 0x30];
        let key = TrafficKey::from_parts(&AES_128_GCM, &[7; 16], iv, 0x0102).unwrap();
        let expected = [0x5d, 0x31, 0x3e, 0xb2, 0x67, 0x12, 0x76, 0xee, 0x13, 0x00, 0x0a, 0x32];
        assert_eq!(key.nonce().unwrap().as_ref(), &expected);
    }

    /// The trace of RFC 8448 section 3: the client's first application keys; and the keys after one KeyUpdate, derived
    /// from its secret by an independent implementation of section 7.2 (Python's hmac and hashlib).
    #[test]
    fn rfc_8448_traffic_keys() {
        let secret = hex::decode("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5").unwrap();
        let mut secret = TrafficSecret::new(Suite::with(&AES_128_GCM), &secret).unwrap();
        let expected = |key: &str, iv: &str| {
            let (key, iv) = (hex::decode(key).unwrap(), hex::decode(iv).unwrap().try_into().unwrap());
            TrafficKey::from_parts(&AES_128_GCM, &key, iv, 0).unwrap()
        };
        let same = |mut a: TrafficKey, mut b: TrafficKey| {
            a.seal([1; HEADER], &mut [2; 40]) == b.seal([1; HEADER], &mut [2; 40])
        };
        assert!(same(secret.key().unwrap(), expected("17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9")));
        assert!(same(secret.next().unwrap(), expected("3879d82f5f14056e623f2ce5bfc66fce", "5dfb2c5938c3379b6cc5d1f2")));
        assert!(same(secret.next().unwrap(), expected("215f086ece93c88043a7d492b236c774", "f3c0ed95225a0800394de786")));
    }

    #[test]
    fn sequence_numbers_do_not_wrap() {
        let mut key = TrafficKey::from_parts(&AES_128_GCM, &[7; 16], [0; 12], u64::MAX).unwrap();
        assert_eq!(key.seal([0; HEADER], &mut [1, 2, 3]).unwrap_err(), RecordError::KeyUsedUp);
        let mut body = [0; 32];
        assert_eq!(key.open([0; HEADER], &mut body).unwrap_err(), RecordError::KeyUsedUp);
    }
}

//! One direction's key with its sequence number, and where the next key comes from.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use zeroize::Zeroizing;

use super::record::{HEADER, RecordError, TAG};

/// One traffic key, its IV, and the number of records it has served.
///
/// Invariant: `seq` is the sequence number of the next record; it never repeats under one key.
pub(super) struct TrafficKey {
    key: LessSafeKey,
    iv: Zeroizing<[u8; 12]>,
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
        iv: [u8; 12],
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

/// The next traffic keys of both directions: rustls' key schedule, shared by the two halves of a connection.
#[derive(Clone)]
pub(super) struct KeySchedule(Arc<Mutex<Kernel>>);

enum Kernel {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
    /// Made-up keys, alike for both directions: two of these talk to each other.
    #[cfg(test)]
    Test {
        algorithm: &'static Algorithm,
        sent: u8,
        received: u8,
    },
}

impl KeySchedule {
    pub(super) fn client(kernel: KernelConnection<ClientConnectionData>) -> Self {
        Self(Arc::new(Mutex::new(Kernel::Client(kernel))))
    }

    pub(super) fn server(kernel: KernelConnection<ServerConnectionData>) -> Self {
        Self(Arc::new(Mutex::new(Kernel::Server(kernel))))
    }

    pub(super) fn next_to_seal(&self) -> Result<TrafficKey, RecordError> {
        self.with(|kernel| match kernel {
            Kernel::Client(kernel) => from_rustls(kernel.update_tx_secret()),
            Kernel::Server(kernel) => from_rustls(kernel.update_tx_secret()),
            #[cfg(test)]
            Kernel::Test { algorithm, sent, .. } => test_key(algorithm, sent),
        })
    }

    pub(super) fn next_to_open(&self) -> Result<TrafficKey, RecordError> {
        self.with(|kernel| match kernel {
            Kernel::Client(kernel) => from_rustls(kernel.update_rx_secret()),
            Kernel::Server(kernel) => from_rustls(kernel.update_rx_secret()),
            #[cfg(test)]
            Kernel::Test { algorithm, received, .. } => test_key(algorithm, received),
        })
    }

    /// A lock that is taken once a KeyUpdate; a panic elsewhere leaves nothing half-done in it.
    fn with<T>(&self, f: impl FnOnce(&mut Kernel) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn from_rustls(next: Result<(u64, ConnectionTrafficSecrets), rustls::Error>) -> Result<TrafficKey, RecordError> {
    let (seq, secrets) = next.map_err(|_| RecordError::Crypto)?;
    TrafficKey::new(&secrets, seq)
}

impl fmt::Debug for KeySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySchedule { .. }")
    }
}

#[cfg(test)]
impl KeySchedule {
    pub(super) fn for_test(algorithm: &'static Algorithm) -> Self {
        Self(Arc::new(Mutex::new(Kernel::Test { algorithm, sent: 0, received: 0 })))
    }
}

#[cfg(test)]
fn test_key(algorithm: &'static Algorithm, generation: &mut u8) -> Result<TrafficKey, RecordError> {
    *generation = generation.wrapping_add(1);
    TrafficKey::from_parts(algorithm, &vec![*generation; algorithm.key_len()], [*generation; 12], 0)
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

    #[test]
    fn sequence_numbers_do_not_wrap() {
        let mut key = TrafficKey::from_parts(&AES_128_GCM, &[7; 16], [0; 12], u64::MAX).unwrap();
        assert_eq!(key.seal([0; HEADER], &mut [1, 2, 3]).unwrap_err(), RecordError::KeyUsedUp);
        let mut body = [0; 32];
        assert_eq!(key.open([0; HEADER], &mut body).unwrap_err(), RecordError::KeyUsedUp);
    }
}

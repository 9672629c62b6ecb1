//! Bulk data as TLS records, with the least that a sender and a receiver can do: so that the proxy is what is measured.
//!
//! The sender seals a buffer that it never fills anew; the receiver reads the records' lengths and decrypts nothing.

use anyhow::{Result, bail, ensure};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{Connection, ConnectionTrafficSecrets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The sending half of a session whose handshake is done.
pub(crate) struct Sender {
    key: LessSafeKey,
    iv: [u8; 12],
    seq: u64,
}

impl Sender {
    /// Nothing may be left in `connection` that is not sent.
    pub(crate) fn new(connection: Connection) -> Result<Self> {
        let (seq, secrets) = connection.dangerous_extract_secrets()?.tx;
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else { bail!("another suite than AES-128-GCM") };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref())?;
        Ok(Self { key: LessSafeKey::new(key), iv: iv.as_ref().try_into()?, seq })
    }

    /// Sends `len` bytes in records of at most `record` bytes.
    pub(crate) async fn send(&mut self, socket: &mut TcpStream, mut len: u64, record: usize) -> Result<()> {
        let stride = HEADER + record + TRAILER;
        let mut buffer = vec![0; stride * (BATCH / stride).max(1)];
        while len > 0 {
            let mut filled = 0;
            while len > 0 && filled + stride <= buffer.len() {
                let payload = usize::try_from(len).unwrap_or(usize::MAX).min(record);
                filled += self.seal(&mut buffer[filled..], payload)?;
                len -= payload as u64;
            }
            socket.write_all(&buffer[..filled]).await?;
        }
        Ok(())
    }

    fn seal(&mut self, slot: &mut [u8], payload: usize) -> Result<usize> {
        let body = payload + TRAILER;
        let [high, low] = u16::try_from(body)?.to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        slot[..HEADER].copy_from_slice(&header);
        let (plain, tag) = slot[HEADER..HEADER + body].split_at_mut(payload + 1);
        plain[payload] = APPLICATION_DATA;
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.seq.to_be_bytes()).for_each(|(byte, seq)| *byte ^= seq);
        self.seq += 1;
        let sealed =
            self.key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(header), plain)?;
        tag.copy_from_slice(sealed.as_ref());
        Ok(HEADER + body)
    }
}

/// Reads whole records until their payload adds up to `len`.
pub(crate) async fn receive(socket: &mut TcpStream, len: u64) -> Result<()> {
    let mut buffer = vec![0; 2 * BATCH];
    let (mut held, mut payload, mut body) = (0, 0, 0);
    while payload < len || body > 0 {
        let read = socket.read(&mut buffer[held..]).await?;
        ensure!(read > 0, "the stream ended after {payload} of {len} bytes");
        let end = held + read;
        let mut at = 0;
        loop {
            let skipped = body.min(end - at);
            at += skipped;
            body -= skipped;
            if body > 0 || end - at < HEADER {
                break;
            }
            ensure!(buffer[at] == APPLICATION_DATA, "a record of type {}", buffer[at]);
            body = usize::from(u16::from_be_bytes([buffer[at + 3], buffer[at + 4]]));
            payload += body.saturating_sub(TRAILER) as u64;
            at += HEADER;
        }
        buffer.copy_within(at..end, 0);
        held = end - at;
    }
    Ok(())
}

/// The most that one record carries (RFC 8446 section 5.1).
pub(crate) const LARGEST: usize = 1 << 14;
const APPLICATION_DATA: u8 = 23;
const HEADER: usize = 5;
/// The inner type and the tag.
const TRAILER: usize = 17;
/// Bytes of one write.
const BATCH: usize = 128 * 1024;

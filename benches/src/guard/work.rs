//! What the guard counts: each is done so many times, and nothing else depends on the number.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use bytes::BytesMut;
use clap::ValueEnum;
use inclavared_config::Suite;
use inclavared_wire::frame::{self, Admits, Assembler, FrameKind, MAX_DATA};
use inclavared_wire::tls::{self, MAX_PLAINTEXT, Sealer};
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::ServerName;
use tokio::runtime::Builder;

use super::session::{open, seal, session};
use crate::certs;
use crate::handshakes::Attested;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Work {
    /// A full record, opened and sealed for another leg where it lies.
    Reseal16384,
    /// The same with what fits in an Ethernet frame.
    Reseal1400,
    /// A DATA frame that came in two records.
    Frame,
    /// Both sides of a mutual handshake with ordinary certificates, known to both.
    Handshake,
    /// Both sides of an attested one, appraisals remembered.
    AttestedHandshake,
}

impl Work {
    pub(crate) const ALL: [Self; 5] =
        [Self::Reseal16384, Self::Reseal1400, Self::Frame, Self::Handshake, Self::AttestedHandshake];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reseal16384 => "reseal16384",
            Self::Reseal1400 => "reseal1400",
            Self::Frame => "frame",
            Self::Handshake => "handshake",
            Self::AttestedHandshake => "attested-handshake",
        }
    }

    /// How often it is done at first: enough to stand out, few enough for an emulated processor.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Reseal16384 | Self::Reseal1400 | Self::Frame => 4000,
            Self::Handshake | Self::AttestedHandshake => 20,
        }
    }

    pub(crate) fn run(self, count: usize, folder: &Path) -> Result<()> {
        match self {
            Self::Reseal16384 => reseal(MAX_PLAINTEXT, count),
            Self::Reseal1400 => reseal(1400, count),
            Self::Frame => return frames(count),
            Self::Handshake => handshakes(count, folder)?,
            Self::AttestedHandshake => Attested::new(folder)?.many(count)?,
        }
        Ok(())
    }
}

fn reseal(size: usize, count: usize) {
    let ((mut near, mut far), (mut onward, _)) = (session(Suite::Aes128Gcm), session(Suite::Aes128Gcm));
    let payload = Sealer::HEAD..Sealer::HEAD + size;
    let mut slot = vec![0; payload.end + Sealer::TAIL];
    for _ in 0..count {
        // The sender's part is counted as well: the same for every record.
        seal(&mut near, &mut slot, payload.clone());
        let payload = open(&mut far, &mut slot);
        seal(&mut onward, &mut slot, payload);
    }
}

/// The handshakes of `pki` legs.
fn handshakes(count: usize, folder: &Path) -> Result<()> {
    certs::write(folder)?;
    let (client, server) = (certs::client(folder, kx_group::X25519)?, certs::server(folder)?);
    let runtime = Builder::new_current_thread().build()?;
    runtime.block_on(async {
        for _ in 0..count {
            let (mut near, mut far) = tokio::io::duplex(64 * 1024);
            let name = ServerName::try_from("localhost")?;
            let near = tls::connect(&mut near, Arc::clone(&client), name);
            tokio::try_join!(near, tls::accept(&mut far, Arc::clone(&server), BytesMut::new()))?;
        }
        Ok(())
    })
}

fn frames(count: usize) -> Result<()> {
    let whole = [&frame::header(FrameKind::Data, MAX_DATA)[..], &[0; MAX_DATA]].concat();
    let (first, second) = whole.split_at(whole.len() / 2);
    let mut assembler = Assembler::new(Admits::ALL);
    for _ in 0..count {
        assembler.push(first);
        assembler.push(second);
        assembler.take()?;
    }
    Ok(())
}

//! `inclavared --connect`, the original's client: verifies the path, says hello, and logs the answer.

use anyhow::Context as _;
use bytes::BytesMut;
use inclavared_tunnel::error::Error;
use inclavared_tunnel::server::log::printable;
use inclavared_tunnel::server::workload::HELLO;
use inclavared_wire::frame::{Admits, FrameKind};

use crate::cli::Verification;
use crate::relying_party::RelyingParty;

/// The answer is a line; more of it is not read.
const MAX_ANSWER: usize = 512;

/// Greets the workload at the end of a verified path.
pub fn greet(path: &Verification) -> anyhow::Result<()> {
    let party = RelyingParty::new(path.clone())?;
    let answer = party.verify(async |node, verified| {
        tracing::info!(hops = verified.path().hops.len(), "Remote attestation is successful.");
        let (mut leg, _) = verified.start(&node.side).await?;
        leg.source.admit(Admits::OF_SERVER.without(FrameKind::Preview));
        leg.send(FrameKind::Data, HELLO).await?;
        leg.send(FrameKind::End, &[]).await?;
        let mut answer = BytesMut::new();
        while answer.len() < MAX_ANSWER {
            let frame = leg.source.frame().await?;
            match frame.kind {
                FrameKind::Data => answer.extend_from_slice(&frame.payload),
                _ => break,
            }
        }
        leg.close().await;
        Ok::<_, Error>(answer.freeze())
    });
    let answer = answer.map_err(|error| anyhow::anyhow!(error.one_line())).context("greeting the workload")?;
    let answer = &answer[..answer.len().min(MAX_ANSWER)];
    tracing::info!(answer = printable(&String::from_utf8_lossy(answer)), "the workload answered");
    Ok(())
}

//! A relying party of one's own: verifies a path on a simulated platform and says who is on it.
//!
//! Usage: verify ADDRESS PLATFORM-FOLDER

use std::sync::Arc;

use inclavared_config::{
    Attestation, AttesterKind, CollateralOptions, Deadlines, Limits, SimSettings, Target, TlsSettings, VerifierKind,
};
use inclavared_tunnel::{client, process};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(folder)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: verify ADDRESS PLATFORM-FOLDER");
    };
    let target: Target = address.parse()?;
    let attestation = Attestation {
        attester: AttesterKind::Null,
        verifier: VerifierKind::Sim,
        platform: Some(folder.into()),
        sim: SimSettings::default(),
        collateral: CollateralOptions::default(),
    };
    let policy = Arc::new(attestation.verifier.default_policy());
    let ended = Box::new(|_: &_| {});
    let (node, _threads) =
        process::node(&attestation, &TlsSettings::default(), &Limits::default(), &Deadlines::default(), ended)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let verified = client::verify(&node.side, &target, &policy, None).await?;
        for hop in &verified.path().hops {
            println!("hop {}: {} {}, TCB {}", hop.position, hop.role, hop.evidence.digest(), hop.verdict.status);
        }
        verified.leave().await;
        Ok(())
    })
}

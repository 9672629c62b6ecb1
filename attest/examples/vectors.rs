//! Writes the test vectors of docs/PROTOCOL.md: `cargo run -p inclavared-attest --example vectors -- docs/vectors`.
//!
//! A new run makes new keys, so all files change together. `attest/tests/path/vectors.rs` checks what is committed.

#[allow(dead_code, clippy::unwrap_used, reason = "the builders of the tests, which use all of them")]
#[path = "../tests/path/chain.rs"]
mod chain;
#[allow(dead_code, clippy::unwrap_used, reason = "the builders of the tests, which use all of them")]
#[path = "../tests/path/world.rs"]
mod world;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use inclavared_attest::evidence::Tee;
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::path::{Close, Counters, Expects, Path, verify_path};
use inclavared_attest::policy::PathEnd;
use inclavared_attest::sim::SimPlatform;
use serde_json::{Value, json};

use chain::{Chain, untouched};
use world::{NOW, World, policy};

const COUNTED: Counters = Counters { up: 1024, down: 65_536 };

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("name the folder to write to")?);
    let platform = SimPlatform::generate(NOW)?;
    let collateral = |tee| -> anyhow::Result<Value> {
        let set = platform.collateral(tee).context("SGX and TDX are simulated")?;
        Ok(serde_json::from_slice(&set.to_json())?)
    };
    let shared = json!({
        "now": NOW.0,
        "root": hex::encode(platform.root_der()),
        "collateral": { "sgx": collateral(Tee::Sgx)?, "tdx": collateral(Tee::Tdx)? },
    });
    write(&folder.join("platform.json"), &shared)?;
    let world = World::new(platform);
    for hops in 1..=3 {
        let mut chain = Chain::new(NOW, &world.attesters(hops));
        // The path of two hops has a verifier with a key of its own.
        chain.client = if hops == 2 { Some(Arc::new(HopKey::generate()?)) } else { None };
        write(&folder.join(format!("key-{hops}.json")), &vector(&world, &chain)?)?;
    }
    Ok(())
}

fn vector(world: &World, chain: &Chain) -> anyhow::Result<Value> {
    let preview = chain.preview().encode();
    let path = verify_path(&chain.input(&preview, Expects::Preview), &policy(), &world.appraiser)?;
    let last = chain.final_with(&path, COUNTED, &untouched).encode_without(&|_| true);
    let expects = Expects::Final { path: &path, counters: COUNTED };
    let done = verify_path(&chain.input(&last, expects), &policy(), &world.appraiser)?;
    let first = &chain.hops[0];
    Ok(json!({
        "level": "key",
        "now": NOW.0,
        "nonce": chain.nonce.to_string(),
        "leg": first.leg.to_string(),
        "server_spki": hex::encode(first.key.spki()),
        "server_evidence": hex::encode(first.evidence.blob()),
        "client_key": chain.client.as_ref().map(|key| key.kid().to_string()),
        "open": hex::encode(&first.open),
        "preview": hex::encode(&preview),
        "final": hex::encode(&last),
        "counters": { "up": COUNTED.up, "down": COUNTED.down },
        "expected": expected(&done),
    }))
}

/// What verification gives, in the words of the vectors.
fn expected(path: &Path) -> Value {
    let hops = path.hops.iter().map(|hop| {
        json!({
            "position": hop.position,
            "role": hop.role,
            "key": hop.kid.to_string(),
            "leg": hop.leg.to_string(),
            "evidence": hop.evidence.digest().to_string(),
            "tee": hop.appraised.tee,
            "status": hop.verdict.status.name(),
            "preview_record": hop.preview.to_string(),
            "final_record": hop.record.to_string(),
        })
    });
    json!({
        "session": path.session.to_string(),
        "hops": hops.collect::<Vec<_>>(),
        "end": match &path.end { PathEnd::Terminal(kind) => json!(kind), PathEnd::Legacy => json!("legacy") },
        "worst": path.worst.name(),
        "compared": path.compared,
        "simulated": path.simulated,
        "expires": path.expires.0,
        "complete": matches!(path.close, Some(Close::Complete { .. })),
    })
}

fn write(file: &std::path::Path, value: &Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    fs::write(file, text).with_context(|| file.display().to_string())
}

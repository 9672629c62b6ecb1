//! A chain of five processes, each from a configuration of its own, in front of a plain server.

use std::fmt::Display;

use serde_json::Value;

use crate::harness::{Hop, World};

/// What one hop's configuration says besides the usual. Its policy `any` lets everybody of the platform pass.
pub(crate) struct Settings {
    pub(crate) xfer: Option<String>,
    pub(crate) upstream: String,
    /// For the hops below; the last hop has a plain server there.
    pub(crate) policy: String,
    /// Keys of the route.
    pub(crate) route: String,
    /// Of `[deadlines]`.
    pub(crate) deadlines: String,
    /// Tables at the end.
    pub(crate) tables: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            xfer: None,
            upstream: "\"attested\"".to_owned(),
            policy: "any".to_owned(),
            route: String::new(),
            deadlines: String::new(),
            tables: String::new(),
        }
    }
}

pub(crate) const HOPS: usize = 5;

/// Five hops, the one next to the verifier first. `settings` are asked for each position, from 1.
pub(crate) fn five(world: &World, server: impl Display, settings: impl Fn(usize) -> Settings) -> Vec<Hop> {
    let mut hops: Vec<Hop> = Vec::new();
    for position in (1..=HOPS).rev() {
        let Settings { xfer, upstream, policy, route, deadlines, tables } = settings(position);
        let below = hops.first().map_or_else(|| server.to_string(), |hop| hop.address.clone());
        let downstream = match position {
            HOPS => "\"plain\"".to_owned(),
            _ => format!("{{ tls = \"mutual\", policy = \"{policy}\" }}"),
        };
        let text = format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{}"
            upstream = {upstream}
            downstream = {downstream}
            role = "{}"
            {route}
            [attestation.sim]
            label = "code-{position}"
            tee = "tdx"
            [deadlines]
            {deadlines}
            {tables}
            "#,
            xfer.unwrap_or(below),
            role(position),
        );
        hops.insert(0, world.route(&format!("hop-{position}"), &text));
    }
    hops
}

pub(crate) fn role(position: usize) -> &'static str {
    match position {
        1 => "ingress",
        HOPS => "workload",
        _ => "relay",
    }
}

/// The verified path, as `shelter` shows it.
pub(crate) fn path(world: &World, hops: &[Hop]) -> Value {
    let (code, path) = world.attest(&hops[0].address, "");
    assert_eq!(code, Some(0), "{path:#}");
    path
}

/// What was measured at a position, from 1.
pub(crate) fn mrtd(path: &Value, position: usize) -> String {
    path["hops"][position - 1]["measurement"]["mrtd"].as_str().unwrap().to_owned()
}

/// A policy in a file of its own.
pub(crate) fn policy_file(world: &World, name: &str, text: &str) -> String {
    let file = world.path(&format!("{name}.policy.toml"));
    let head = "[policy.test]\nallow_simulated = true\nidentity = \"any-genuine\"";
    std::fs::write(&file, format!("{head}\n{text}")).unwrap();
    file.display().to_string()
}

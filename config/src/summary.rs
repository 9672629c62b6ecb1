//! What a valid configuration comes to, and what in it deserves a second look.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use inclavared_attest::ConfigDigest;
use inclavared_attest::policy::{IdentityRule, Measurements, Policy, ReferenceValue, TerminalKind};
use inclavared_attest::reference::sigstruct::SAMPLE_SIGNER;

use crate::config::{Config, load};
use crate::document::Errors;
use crate::policy::GENUINE_ONLY;
use crate::route::Route;
use crate::settings::{AttesterKind, VerifierKind};

/// What a valid configuration says. `Display` shows it whole, a line each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// One line a route: name, role, addresses, what each side demands.
    pub routes: Vec<String>,
    /// One line a policy, the built-in one only if a route uses it.
    pub policies: Vec<String>,
    /// What is allowed although it weakens the proof, and what can never work. The log at the start shows these, too.
    pub warnings: Vec<String>,
    /// What the process will attest of this configuration.
    pub digest: ConfigDigest,
}

/// Reads a configuration as the process would, and says what it found.
pub fn check(path: &Path) -> Result<Summary, Errors> {
    load(path).map(|config| config.summary())
}

impl Config {
    /// What this configuration comes to, and what in it deserves a second look.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let used = self.used_policies();
        let shown: BTreeMap<_, _> = self.policies.iter().chain(&used).collect();
        Summary {
            routes: self.routes.iter().map(route_line).collect(),
            policies: shown.values().map(|policy| policy_line(policy)).collect(),
            warnings: self.warnings(&used),
            digest: self.digest,
        }
    }

    /// Every policy that a route uses, the built-in one included.
    #[must_use]
    pub fn used_policies(&self) -> BTreeMap<String, Arc<Policy>> {
        let sides = self.routes.iter().flat_map(|route| [route.upstream.policy(), route.downstream.policy()]);
        sides.flatten().map(|policy| (policy.name.clone(), policy.clone())).collect()
    }

    fn warnings(&self, used: &BTreeMap<String, Arc<Policy>>) -> Vec<String> {
        let (attester, verifier) = (self.attestation.attester, self.attestation.verifier);
        let mut warnings = Vec::new();
        if attester == AttesterKind::Null {
            warnings.push("attester `null`: this process shows no evidence of what it is".to_owned());
        }
        if attester == AttesterKind::Sim {
            warnings.push("attester `sim`: this process's evidence proves nothing about hardware".to_owned());
        }
        let collateral = &self.attestation.collateral;
        if collateral.danger_accept_any_certificate {
            warnings.push("collateral: the certificates of its services are not checked".to_owned());
        }
        if collateral.danger_allow_plain_http {
            warnings.push("collateral: services may be asked over plain http".to_owned());
        }
        if let Some(admin) = self.admin
            && !admin.ip().is_loopback()
        {
            warnings.push(format!("admin: {admin} tells anybody who reaches it how connections end"));
        }
        for (name, policy) in used {
            warnings.extend(policy_warnings(policy).map(|what| format!("policy `{name}`: {what}")));
            let needed = [
                (policy.allow_simulated, VerifierKind::Sim, "allow_simulated"),
                (policy.danger_allow_null, VerifierKind::Null, "danger_allow_null"),
            ];
            for (allowed, kind, key) in needed {
                if allowed && verifier != kind {
                    warnings.push(format!("policy `{name}`: {key} has no effect, as the verifier is `{verifier}`"));
                }
                if !allowed && verifier == kind {
                    warnings
                        .push(format!("policy `{name}` refuses what the verifier `{kind}` is for: {key} is not set"));
                }
            }
        }
        for name in self.policies.keys().filter(|name| !used.contains_key(*name)) {
            warnings.push(format!("policy `{name}`: no route uses it"));
        }
        let unattested = |route: &&Route| !route.upstream.shows_evidence() && route.downstream.policy().is_none();
        for route in self.routes.iter().filter(unattested) {
            let (up, down) = (route.upstream.label(), route.downstream.label());
            warnings.push(format!("route `{}`: {up} to {down}: nothing is attested to anybody", route.name));
        }
        for route in self.routes.iter().filter(|route| route.disclose_expected) {
            warnings.push(format!("route `{}`: disclose_expected tells reference values to anybody", route.name));
        }
        warnings
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.routes.iter().try_for_each(|line| writeln!(f, "route {line}"))?;
        self.policies.iter().try_for_each(|line| writeln!(f, "policy {line}"))?;
        self.warnings.iter().try_for_each(|line| writeln!(f, "warning: {line}"))?;
        write!(f, "configuration digest {}", self.digest)
    }
}

fn route_line(route: &Route) -> String {
    let side = |label: &str, policy: Option<&Arc<Policy>>| match policy {
        Some(policy) => format!("{label} (policy {})", policy.name),
        None => label.to_owned(),
    };
    format!(
        "{} ({}): {} {} -> {} {}",
        route.name,
        route.role,
        route.listen,
        side(route.upstream.label(), route.upstream.policy()),
        route.target,
        side(route.downstream.label(), route.downstream.policy()),
    )
}

fn policy_line(policy: &Policy) -> String {
    let measurements = match &policy.measurements {
        Measurements::NotCompared => "measurements not compared".to_owned(),
        Measurements::Rules(rules) => {
            let values: usize = rules.iter().map(|rule| rule.reference_values.len()).sum();
            format!("{values} reference value(s) in {} hop rule(s)", rules.len())
        }
    };
    let identity = match &policy.identity {
        IdentityRule::AnyGenuine => match &policy.named {
            Some(named) => format!("{} name(s) by an authority", named.uris.len()),
            None => "any genuine platform".to_owned(),
        },
        IdentityRule::Platforms(ids) => format!("{} platform(s)", ids.len()),
        IdentityRule::ConfigIds(ids) => format!("{} CONFIGID(s)", ids.len()),
    };
    format!("{}: {measurements}; {identity}; up to {} hops", policy.name, policy.shape.max_hops)
}

fn policy_warnings(policy: &Policy) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    let mut note = |applies: bool, what: &str| found.extend(applies.then(|| what.to_owned()));
    note(policy.allow_simulated, "simulated evidence passes; it proves nothing about hardware");
    note(policy.danger_allow_null, "peers without any evidence pass");
    note(policy.danger_allow_debug, "debug TEEs pass; their memory is open to their host");
    note(
        policy.measurements == Measurements::NotCompared,
        "measurements are not compared; any code in a genuine TEE passes",
    );
    for kind in [TerminalKind::HostLocal, TerminalKind::Plain] {
        note(
            // The built-in one lets a path begin anywhere, and end nowhere but in a TEE.
            policy.name != GENUINE_ONLY && policy.shape.terminals.contains(&kind),
            &format!("the terminal `{}` passes; its bytes are outside of any TEE there, unencrypted", kind.name()),
        );
    }
    if let Measurements::Rules(rules) = &policy.measurements {
        let open = rules.iter().flat_map(|rule| &rule.reference_values).any(is_open_td);
        let sample = rules.iter().flat_map(|rule| &rule.reference_values).any(is_sample_signer);
        note(sample, "a hop trusts a signer whose key is published with Intel's SDK; anybody's enclave passes");
        note(open, "a hop has mrtd without rtmr1 and rtmr2: that is the firmware alone, and any kernel passes");
    }
    found.into_iter()
}

fn is_sample_signer(value: &ReferenceValue) -> bool {
    matches!(value, ReferenceValue::SgxSigner { mrsigner, .. } if *mrsigner == SAMPLE_SIGNER)
}

/// `mrtd` measures the virtual firmware; what it boots is in RTMR 1 (kernel) and 2 (command line, initrd).
fn is_open_td(value: &ReferenceValue) -> bool {
    matches!(value, ReferenceValue::Tdx { rtmr: [_, one, two, _], .. } if one.is_none() || two.is_none())
}

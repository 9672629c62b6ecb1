//! The flags about evidence that all programs share: who makes it, who appraises it, and under which policy.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use inclavared_attest::appraise::TcbStatus;
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{Field, FieldValue, Policy};
use inclavared_collateral::Endpoint;
use inclavared_config::{
    AttesterKind, CollateralOptions, KindError, SIM_FIELDS, SimSettings, VerifierKind, file_and_name, load_policy,
};

use super::Mistakes;

#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct AttestationArgs {
    /// Makes evidence: auto, sgx_ecdsa, tdx_ecdsa, sev_snp, sim or null
    #[arg(long, value_name = "TYPE")]
    attester: Option<String>,
    /// Appraises peers' evidence: the same names, and sgx_ecdsa_qve
    #[arg(long, value_name = "TYPE")]
    verifier: Option<String>,
    /// The policy for peers' evidence [default: genuine-only]
    #[arg(long, value_name = "FILE[#NAME]")]
    policy: Option<String>,
    /// The folder of the simulated platform
    #[arg(long, value_name = "DIR")]
    platform: Option<PathBuf>,
    /// Asked for collateral [default: as QCNL says, or Intel]
    #[arg(long, value_name = "URL")]
    collateral_service: Vec<String>,
    /// Asked for AMD's certificates [default: AMD's key service]
    #[arg(long, value_name = "URL")]
    amd_service: Vec<String>,
    /// Collateral in a file, where no service is reached
    #[arg(long, value_name = "FILE")]
    collateral_bundle: Option<PathBuf>,
    /// Accepted; rustls serves TLS 1.3, whatever is named
    #[arg(long, value_name = "TYPE")]
    tls: Option<String>,
    /// Accepted; aws-lc serves, whatever is named
    #[arg(long, value_name = "TYPE")]
    crypto: Option<String>,
    #[command(flatten)]
    sim: SimArgs,
}

/// What the simulated platform says of this process, which it cannot measure.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "What the attester `sim` states")]
struct SimArgs {
    /// Stands for the code: measurements are derived from it
    #[arg(long, value_name = "WORD")]
    sim_label: Option<String>,
    /// sgx, tdx or snp [default: sgx]
    #[arg(long, value_name = "TEE")]
    sim_tee: Option<String>,
    /// 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    sim_mrenclave: Option<String>,
    /// 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    sim_mrsigner: Option<String>,
    /// The product's number
    #[arg(long, value_name = "NUMBER")]
    sim_isvprodid: Option<String>,
    /// The security version
    #[arg(long, value_name = "NUMBER")]
    sim_isvsvn: Option<String>,
    /// 96 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    sim_mrtd: Option<String>,
    /// Another field of the quote: configid, xfam, mrowner, ...; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    sim_field: Vec<String>,
    /// A TCB status: UpToDate, OutOfDate, ...
    #[arg(long, value_name = "STATUS")]
    sim_tcb: Option<String>,
    /// The machine's name; quotes of one name come from one machine
    #[arg(long, value_name = "WORD")]
    sim_machine: Option<String>,
    /// A debug enclave or TD
    #[arg(long)]
    sim_debug: bool,
    /// Of snp: the host hands out no certificates
    #[arg(long)]
    sim_no_certificates: bool,
}

/// What the flags mean.
pub(super) struct Meant {
    pub(super) attester: AttesterKind,
    /// Whether it was named.
    pub(super) attester_named: bool,
    pub(super) verifier: VerifierKind,
    pub(super) platform: Option<PathBuf>,
    pub(super) sim: SimSettings,
    pub(super) collateral: CollateralOptions,
    pub(super) policy: Option<Policy>,
    pub(super) notes: Vec<String>,
}

impl AttestationArgs {
    pub(super) fn meaning(&self, mistakes: &mut Mistakes) -> Meant {
        let mut notes = Vec::new();
        let attester = self.attester.as_deref().and_then(|text| read_attester(text, mistakes, &mut notes));
        let verifier = self.verifier.as_deref().and_then(|text| read_verifier(text, mistakes, &mut notes));
        if let Some(tls) = &self.tls {
            notes.push(format!("--tls {tls}: rustls serves TLS 1.3 in its place"));
        }
        if let Some(crypto) = &self.crypto {
            notes.push(format!("--crypto {crypto}: aws-lc serves in its place"));
        }
        let typed = self.sim.typed();
        if let (Some(flag), Some(attester)) =
            (typed.first(), attester.or(self.attester.is_none().then_some(AttesterKind::Auto)))
            && attester != AttesterKind::Sim
        {
            let what = format!("the attester is `{attester}`, which measures for itself");
            mistakes.add(flag, what, "leave it out, or add `--attester sim`");
        }
        Meant {
            attester: attester.unwrap_or(AttesterKind::Auto),
            attester_named: self.attester.is_some(),
            verifier: verifier.unwrap_or(VerifierKind::Auto),
            platform: self.platform.clone(),
            sim: self.sim.settings(mistakes),
            collateral: self.collateral(mistakes),
            policy: self.policy.as_deref().and_then(|text| read_policy(text, mistakes)),
            notes,
        }
    }

    fn collateral(&self, mistakes: &mut Mistakes) -> CollateralOptions {
        let services = read_services("--collateral-service", &self.collateral_service, mistakes);
        let services = (!services.is_empty()).then_some(services);
        let amd_services = read_amd_services("--amd-service", &self.amd_service, mistakes);
        let amd_services = (!amd_services.is_empty()).then_some(amd_services);
        let bundle = self.collateral_bundle.clone();
        CollateralOptions { services, amd_services, bundle, ..CollateralOptions::default() }
    }

    /// The flags that decide something and were typed: a configuration file says all of that itself.
    pub(super) fn typed(&self) -> Vec<&'static str> {
        let flags = [
            ("--attester", self.attester.is_some()),
            ("--verifier", self.verifier.is_some()),
            ("--policy", self.policy.is_some()),
            ("--platform", self.platform.is_some()),
            ("--collateral-service", !self.collateral_service.is_empty()),
            ("--amd-service", !self.amd_service.is_empty()),
            ("--collateral-bundle", self.collateral_bundle.is_some()),
        ];
        flags.into_iter().filter_map(|(flag, typed)| typed.then_some(flag)).chain(self.sim.typed()).collect()
    }
}

impl SimArgs {
    fn typed(&self) -> Vec<&'static str> {
        let flags = [
            ("--sim-label", self.sim_label.is_some()),
            ("--sim-tee", self.sim_tee.is_some()),
            ("--sim-mrenclave", self.sim_mrenclave.is_some()),
            ("--sim-mrsigner", self.sim_mrsigner.is_some()),
            ("--sim-isvprodid", self.sim_isvprodid.is_some()),
            ("--sim-isvsvn", self.sim_isvsvn.is_some()),
            ("--sim-mrtd", self.sim_mrtd.is_some()),
            ("--sim-field", !self.sim_field.is_empty()),
            ("--sim-tcb", self.sim_tcb.is_some()),
            ("--sim-machine", self.sim_machine.is_some()),
            ("--sim-debug", self.sim_debug),
            ("--sim-no-certificates", self.sim_no_certificates),
        ];
        flags.into_iter().filter_map(|(flag, typed)| typed.then_some(flag)).collect()
    }

    fn settings(&self, mistakes: &mut Mistakes) -> SimSettings {
        let mut sim = SimSettings { label: self.sim_label.clone(), debug: self.sim_debug, ..SimSettings::default() };
        sim.certificates = !self.sim_no_certificates;
        match self.sim_tee.as_deref() {
            None | Some("sgx") => (),
            Some("tdx") => sim.tee = Tee::Tdx,
            Some("snp") => sim.tee = Tee::SevSnp,
            Some(other) => mistakes.add("--sim-tee", format!("`{other}` is not simulated"), "write sgx, tdx or snp"),
        }
        sim.mrenclave = read_hex("--sim-mrenclave", self.sim_mrenclave.as_deref(), mistakes);
        sim.mrsigner = read_hex("--sim-mrsigner", self.sim_mrsigner.as_deref(), mistakes);
        sim.mrtd = read_hex("--sim-mrtd", self.sim_mrtd.as_deref(), mistakes);
        let number = "write a number from 0 to 65535";
        let tcb_remedy = "write for example UpToDate";
        sim.isv_prod_id = read("--sim-isvprodid", &self.sim_isvprodid, number, mistakes).unwrap_or(sim.isv_prod_id);
        sim.isv_svn = read("--sim-isvsvn", &self.sim_isvsvn, number, mistakes).unwrap_or(sim.isv_svn);
        sim.tcb = read::<TcbStatus>("--sim-tcb", &self.sim_tcb, tcb_remedy, mistakes).unwrap_or(sim.tcb);
        for text in &self.sim_field {
            sim.fields.extend(read_field(text, sim.tee, mistakes));
        }
        sim.machine = self.sim_machine.clone().unwrap_or(sim.machine);
        let unused: &[&str] = match sim.tee {
            Tee::Tdx => {
                &["--sim-mrenclave", "--sim-mrsigner", "--sim-isvprodid", "--sim-isvsvn", "--sim-no-certificates"]
            }
            Tee::SevSnp => &["--sim-mrenclave", "--sim-mrsigner", "--sim-isvprodid", "--sim-isvsvn", "--sim-mrtd"],
            _ => &["--sim-mrtd", "--sim-no-certificates"],
        };
        for flag in self.typed().iter().filter(|flag| unused.contains(flag)) {
            let other = match sim.tee {
                Tee::Tdx => "tdx",
                Tee::SevSnp => "snp",
                _ => "sgx",
            };
            mistakes.add(flag, format!("a simulated {other} has no such value"), "leave it out, or change `--sim-tee`");
        }
        sim
    }
}

/// `NAME=HEX`, or `NAME=NUMBER` where the field is a number.
fn read_field(text: &str, tee: Tee, mistakes: &mut Mistakes) -> Option<(Field, FieldValue)> {
    let known = || SIM_FIELDS.iter().filter(|field| field.tee() == tee);
    let names: Vec<_> = known().map(|field| field.name()).collect();
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let Some(field) = known().find(|field| field.name() == name) else {
        let what = format!("`{name}` is no such field of the TEE that is simulated");
        mistakes.add("--sim-field", what, format!("write NAME=VALUE, with one of {}", names.join(", ")));
        return None;
    };
    let (read, remedy) = match field.width() {
        Some(width) => {
            let read = hex::decode(value).ok().filter(|bytes| bytes.len() == width);
            (read.map(FieldValue::Bytes), format!("write {name}= and {} hexadecimal digits", 2 * width))
        }
        None => {
            let number = match value.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => value.parse(),
            };
            (number.ok().map(FieldValue::Number), format!("write {name}= and a number"))
        }
    };
    if read.is_none() {
        mistakes.add("--sim-field", format!("`{value}` is no value of `{name}`"), remedy);
    }
    read.map(|value| (*field, value))
}

/// URLs of collateral services.
pub(super) fn read_services(flag: &str, urls: &[String], mistakes: &mut Mistakes) -> Vec<String> {
    for url in urls {
        if let Err(error) = Endpoint::parse(url) {
            mistakes.add(flag, error.to_string(), "");
        }
    }
    urls.to_vec()
}

/// URLs of services with AMD's interface.
pub(super) fn read_amd_services(flag: &str, urls: &[String], mistakes: &mut Mistakes) -> Vec<String> {
    for url in urls {
        if let Err(error) = Endpoint::parse_amd(url) {
            mistakes.add(flag, error.to_string(), "");
        }
    }
    urls.to_vec()
}

fn read_attester(text: &str, mistakes: &mut Mistakes, notes: &mut Vec<String>) -> Option<AttesterKind> {
    if text == "sgx_ecdsa_qve" {
        notes.push("--attester sgx_ecdsa_qve: the same as sgx_ecdsa, as a verifier's enclave makes no quotes".into());
        return Some(AttesterKind::SgxEcdsa);
    }
    if text == NULL_QUOTE {
        return Some(AttesterKind::Null);
    }
    kind("--attester", text, mistakes)
}

fn read_verifier(text: &str, mistakes: &mut Mistakes, notes: &mut Vec<String>) -> Option<VerifierKind> {
    if text == NULL_QUOTE {
        return Some(VerifierKind::Null);
    }
    let kind = kind("--verifier", text, mistakes);
    if kind == Some(VerifierKind::SgxEcdsaQve) {
        notes.push(
            "--verifier sgx_ecdsa_qve: a library in this process appraises, no quote verification enclave".into(),
        );
    }
    kind
}

/// `shelter`'s word for no evidence.
const NULL_QUOTE: &str = "nullquote";

fn kind<T: FromStr<Err = KindError>>(flag: &str, text: &str, mistakes: &mut Mistakes) -> Option<T> {
    match text.parse() {
        Ok(kind) => Some(kind),
        Err(error) => {
            let remedy = match text {
                "sgx_la" => "local attestation proves nothing to another machine: write sgx_ecdsa",
                "sgx_epid" | "sgx_ra" => "Intel has ended EPID attestation: write sgx_ecdsa",
                _ => "write one of these",
            };
            mistakes.add(flag, error.to_string(), remedy);
            None
        }
    }
}

/// `FILE` or `FILE#NAME`. What comes after the last `#` is a name only if it can be one.
pub(super) fn read_policy(text: &str, mistakes: &mut Mistakes) -> Option<Policy> {
    let (file, name) = file_and_name(text);
    match load_policy(Path::new(file), name) {
        Ok(policy) => Some(policy),
        Err(errors) => {
            mistakes.add_errors(errors);
            None
        }
    }
}

fn read_hex<const N: usize>(flag: &str, text: Option<&str>, mistakes: &mut Mistakes) -> Option<[u8; N]> {
    let text = text?;
    let mut bytes = [0; N];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Some(bytes),
        Err(error) => {
            mistakes.add(flag, format!("`{text}`: {error}"), format!("write {} hexadecimal digits", 2 * N));
            None
        }
    }
}

fn read<T: FromStr<Err: ToString>>(
    flag: &str,
    text: &Option<String>,
    remedy: &str,
    mistakes: &mut Mistakes,
) -> Option<T> {
    let text = text.as_deref()?;
    text.parse().map_err(|error: T::Err| mistakes.add(flag, format!("`{text}`: {}", error.to_string()), remedy)).ok()
}

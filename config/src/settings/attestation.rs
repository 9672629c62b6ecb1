//! Who makes this process's evidence, and whose evidence it can appraise.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use inclavared_attest::appraise::TcbStatus;
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{Field, FieldValue};

use super::collateral::{CollateralOptions, read_collateral};
use crate::document::Table;

/// `[attestation]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attestation {
    /// What makes this process's evidence.
    pub attester: AttesterKind,
    /// What appraises the evidence of peers.
    pub verifier: VerifierKind,
    /// The folder of the simulated platform. Invariant: there if attester or verifier is `sim`.
    pub platform: Option<PathBuf>,
    /// What the simulated platform says of this process.
    pub sim: SimSettings,
    /// `[collateral]`, a table of its own.
    pub collateral: CollateralOptions,
}

/// What the simulated platform says of this process. It measures nothing, so it has to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SimSettings {
    /// Stands for the code: measurements that are not given are derived from it.
    pub label: Option<String>,
    /// Invariant: `Sgx`, `Tdx` or `SevSnp`.
    pub tee: Tee,
    /// SEV-SNP alone: whether the simulated host hands out the certificates above its reports.
    pub certificates: bool,
    /// SGX: the enclave.
    pub mrenclave: Option<[u8; 32]>,
    /// SGX: its signer.
    pub mrsigner: Option<[u8; 32]>,
    /// SGX: the signer's number of the product.
    pub isv_prod_id: u16,
    /// SGX: the product's security version.
    pub isv_svn: u16,
    /// TDX: the virtual firmware.
    pub mrtd: Option<[u8; 48]>,
    /// TDX: the run-time registers. One that is `None` is derived from the label, as other measurements are.
    pub rtmr: [Option<[u8; 48]>; 4],
    /// Everything else that a quote can say, among [`SIM_FIELDS`]. Invariant: all are fields of `tee`.
    pub fields: BTreeMap<Field, FieldValue>,
    /// Whether the TEE can be debugged, so that its memory is open to its host.
    pub debug: bool,
    /// The state of the platform that the quotes are to show.
    pub tcb: TcbStatus,
    /// The machine's name. Quotes with the same name come from the same machine, so that identity rules can be tried.
    pub machine: String,
}

impl Default for SimSettings {
    fn default() -> Self {
        Self {
            label: None,
            tee: Tee::Sgx,
            certificates: true,
            mrenclave: None,
            mrsigner: None,
            isv_prod_id: 1,
            isv_svn: 1,
            mrtd: None,
            rtmr: [None; 4],
            fields: BTreeMap::new(),
            debug: false,
            tcb: TcbStatus::UpToDate,
            machine: "machine".into(),
        }
    }
}

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident, $what:literal: $($(#[$variant_doc:meta])* $variant:ident = $word:literal $(| $alias:literal)*,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every name that is known, without aliases.
            pub const NAMES: &[&str] = &[$($word,)*];

            /// The name in configuration, logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = KindError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word $(| $alias)* => Ok(Self::$variant),)*
                    _ => Err(KindError { what: $what, found: text.to_owned(), known: Self::NAMES }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

kinds! {
    /// What makes quotes. `nullattester`, the original's word for `null`, is read as well.
    AttesterKind, "attester":
    /// A simulated platform. Its evidence proves nothing about hardware.
    Sim = "sim",
    /// No evidence at all. Only where it is named.
    Null = "null" | "nullattester",
    /// SGX, quotes by Intel's quoting enclave.
    SgxEcdsa = "sgx_ecdsa",
    /// TDX, quotes by Intel's quoting enclave.
    TdxEcdsa = "tdx_ecdsa",
    /// SEV-SNP, reports by AMD's secure processor.
    SevSnp = "sev_snp",
    /// The real TEE that this process finds itself in. Never `sim`, never `null`.
    Auto = "auto",
}

kinds! {
    /// What appraises peers' evidence. `nullverifier`, the original's word for `null`, is read as well.
    VerifierKind, "verifier":
    /// Evidence of the simulated platform, and none of hardware. A policy has to allow it as well.
    Sim = "sim",
    /// Peers without any evidence, besides the genuine kinds. A policy has to allow them as well. Only where it is
    /// named.
    Null = "null" | "nullverifier",
    /// Quotes of Intel's TEEs: SGX and TDX. The policies narrow it.
    SgxEcdsa = "sgx_ecdsa",
    /// The original's name for appraisal by Intel's quoting verification enclave. Here it means `sgx_ecdsa`: a library
    /// in this process appraises.
    SgxEcdsaQve = "sgx_ecdsa_qve",
    /// The same quotes as `sgx_ecdsa`: both TEEs share their format and their vendor's root.
    TdxEcdsa = "tdx_ecdsa",
    /// Reports of SEV-SNP.
    SevSnp = "sev_snp",
    /// Every genuine kind; the policies narrow it. Never `sim`, never `null`.
    Auto = "auto",
}

/// What simulated quotes can be told to say, besides the measurements that have settings of their own.
pub const SIM_FIELDS: &[Field] = &[
    Field::Attributes,
    Field::MiscSelect,
    Field::ConfigId,
    Field::ConfigSvn,
    Field::IsvFamilyId,
    Field::IsvExtProdId,
    Field::MrConfigId,
    Field::MrOwner,
    Field::MrOwnerConfig,
    Field::TdAttributes,
    Field::Xfam,
    Field::MrSeam,
    Field::SnpMeasurement,
    Field::HostData,
    Field::IdKeyDigest,
    Field::AuthorKeyDigest,
    Field::FamilyId,
    Field::ImageId,
    Field::GuestSvn,
    Field::GuestPolicy,
    Field::Vmpl,
];

/// `[attestation]` and `[collateral]`. A relative platform folder lies beside the file.
pub(crate) fn read_attestation(file: &Path, root: &Table<'_>) -> Attestation {
    let table = root.table("attestation");
    let mut attestation = Attestation {
        attester: AttesterKind::Auto,
        verifier: VerifierKind::Auto,
        platform: None,
        sim: SimSettings::default(),
        collateral: read_collateral(file, root),
    };
    let Some(table) = table else { return attestation };
    let attester = table.get("attester").map(|v| v.parsed());
    let verifier = table.get("verifier").map(|v| v.parsed());
    attestation.attester = attester.flatten().unwrap_or(AttesterKind::Auto);
    attestation.verifier = verifier.flatten().unwrap_or(VerifierKind::Auto);
    if let Some(value) = table.get("platform") {
        let folder = value.filled_text(PLATFORM_REMEDY).unwrap_or_default();
        attestation.platform = Some(file.parent().unwrap_or(Path::new("")).join(folder));
    }
    if attestation.needs_platform() && attestation.platform.is_none() {
        table.mistake_at("platform", "missing: `sim` needs a simulated platform", PLATFORM_REMEDY);
    }
    if let Some(sim) = table.table("sim") {
        attestation.sim = read_sim(&sim);
        // A name that could not be read may have been meant as `sim`.
        if attestation.attester != AttesterKind::Sim && attester != Some(None) {
            let what = format!("the attester is `{}`, which measures for itself", attestation.attester);
            sim.mistake(what, "leave this table out, or write `attester = \"sim\"`");
        }
    }
    table.finish();
    attestation
}

fn read_sim(table: &Table<'_>) -> SimSettings {
    let mut sim = SimSettings {
        label: table.get("label").and_then(|v| v.filled_text("write a word, or leave it out")).map(str::to_owned),
        mrenclave: table.get("mrenclave").and_then(|v| v.hex()),
        mrsigner: table.get("mrsigner").and_then(|v| v.hex()),
        mrtd: table.get("mrtd").and_then(|v| v.hex()),
        rtmr: ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].map(|key| table.get(key).and_then(|v| v.hex())),
        ..SimSettings::default()
    };
    if let Some(value) = table.get("tee") {
        sim.tee = value.word(&[("sgx", Tee::Sgx), ("tdx", Tee::Tdx), ("snp", Tee::SevSnp)]).unwrap_or(sim.tee);
    }
    for (key, slot) in [("isvprodid", &mut sim.isv_prod_id), ("isvsvn", &mut sim.isv_svn)] {
        *slot = table.get(key).and_then(|v| v.integer(0..=u16::MAX.into())).unwrap_or(*slot);
    }
    if let Some(value) = table.get("machine") {
        sim.machine = value.filled_text("write a word, or leave it out").unwrap_or_default().to_owned();
    }
    for field in SIM_FIELDS {
        let Some(value) = table.get(field.name()) else { continue };
        if field.tee() != sim.tee {
            value.mistake("a simulated TEE of this kind has no such field", "leave it out, or change `tee`");
            continue;
        }
        let read = match field.width() {
            Some(width) => value.hex_bytes(width).map(FieldValue::Bytes),
            None => value.integer::<u64>(0..=i64::MAX).map(FieldValue::Number),
        };
        sim.fields.extend(read.map(|value| (*field, value)));
    }
    sim.certificates = table.get("certificates").and_then(|v| v.flag()).unwrap_or(sim.certificates);
    sim.debug = table.get("debug").and_then(|v| v.flag()).unwrap_or(sim.debug);
    sim.tcb = table.get("tcb").and_then(|v| v.parsed()).unwrap_or(sim.tcb);
    table.finish();
    sim
}

impl Attestation {
    /// Whether SGX quotes can be expected. What `auto` finds is known only when the process starts, so it counts.
    pub(crate) fn may_quote_sgx(&self) -> bool {
        match self.attester {
            AttesterKind::SgxEcdsa | AttesterKind::Auto => true,
            AttesterKind::Sim => self.sim.tee == Tee::Sgx,
            AttesterKind::TdxEcdsa | AttesterKind::SevSnp | AttesterKind::Null => false,
        }
    }

    /// Whether something in it is simulated, so that the folder of the simulated platform has to be known.
    pub fn needs_platform(&self) -> bool {
        self.attester == AttesterKind::Sim || self.verifier == VerifierKind::Sim
    }
}

pub(crate) const PLATFORM_REMEDY: &str = "write `platform = \"DIR\"`, the folder of the simulated platform";

/// A name that stands for no attester or verifier.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{found}` is no {what}; there are {}", .known.join(", "))]
pub struct KindError {
    what: &'static str,
    found: String,
    known: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_originals() {
        for name in AttesterKind::NAMES {
            assert_eq!(name.parse::<AttesterKind>().unwrap().name(), *name);
        }
        for name in VerifierKind::NAMES {
            assert_eq!(name.parse::<VerifierKind>().unwrap().name(), *name);
        }
        assert_eq!("nullverifier".parse(), Ok(VerifierKind::Null));
        assert_eq!(
            "sgx_epid".parse::<AttesterKind>().unwrap_err().to_string(),
            "`sgx_epid` is no attester; there are sim, null, sgx_ecdsa, tdx_ecdsa, sev_snp, auto"
        );
    }
}

//! What a policy found: the status, a trust vector, and what is worth telling.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Comparison, IdentityRule, Policy};
use crate::appraise::{Appraised, Root, TcbStatus};

/// A hop was admitted, and as what.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Verdict {
    /// For a peer without evidence this is the worst status; `root` says that there was none.
    pub status: TcbStatus,
    pub trust: TrustVector,
    /// Whether the measurements were compared with reference values.
    pub compared: bool,
    pub simulated: bool,
    pub root: Root,
    /// What a reader of the verdict should know: everything short of the best, and which fields were compared.
    pub reasons: Vec<String>,
    /// Every field that was compared, with what was expected and found.
    pub comparisons: Vec<Comparison>,
}

/// An AR4SI trustworthiness vector (draft-ietf-rats-ar4si-09, section 3.1): advice, in one byte a claim.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TrustVector([i8; Claim::ALL.len()]);

/// The claims of AR4SI; the number is the key in its CBOR form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Claim {
    InstanceIdentity = 0,
    Configuration = 1,
    Executables = 2,
    FileSystem = 3,
    Hardware = 4,
    RuntimeOpaque = 5,
    StorageOpaque = 6,
    SourcedData = 7,
}

impl Claim {
    pub const ALL: [Self; 8] = [
        Self::InstanceIdentity,
        Self::Configuration,
        Self::Executables,
        Self::FileSystem,
        Self::Hardware,
        Self::RuntimeOpaque,
        Self::StorageOpaque,
        Self::SourcedData,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::InstanceIdentity => "instance-identity",
            Self::Configuration => "configuration",
            Self::Executables => "executables",
            Self::FileSystem => "file-system",
            Self::Hardware => "hardware",
            Self::RuntimeOpaque => "runtime-opaque",
            Self::StorageOpaque => "storage-opaque",
            Self::SourcedData => "sourced-data",
        }
    }
}

impl TrustVector {
    /// Nothing is claimed.
    pub const NONE: i8 = 0;
    pub const AFFIRMING: i8 = 2;
    pub const WARNING: i8 = 32;
    pub const CONTRAINDICATED: i8 = 96;

    pub const fn get(&self, claim: Claim) -> i8 {
        self.0[claim as usize]
    }

    /// All eight values, in the order of their keys.
    pub const fn values(&self) -> &[i8; 8] {
        &self.0
    }

    /// A vector from its values: a record's, which somebody else wrote.
    pub const fn from_values(values: [i8; 8]) -> Self {
        Self(values)
    }

    pub(super) fn with(mut self, claim: Claim, value: i8) -> Self {
        self.0[claim as usize] = value;
        self
    }
}

impl Serialize for TrustVector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for claim in Claim::ALL {
            map.serialize_entry(claim.name(), &self.get(claim))?;
        }
        map.end()
    }
}

/// What the checks of [`Policy::admit`] learned on their way.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) compared: bool,
    pub(super) config_pinned: bool,
    pub(super) notes: Vec<String>,
    pub(super) comparisons: Vec<Comparison>,
}

impl Policy {
    pub(super) fn verdict(&self, appraised: &Appraised, findings: Findings) -> Verdict {
        let simulated = appraised.root == Root::Simulated;
        let mut reasons = findings.notes;
        let comparisons = findings.comparisons;
        if simulated {
            reasons.insert(0, "simulated evidence: no hardware stands behind it".into());
        }
        if !findings.compared {
            reasons.push("measurements were not compared with reference values".into());
        }
        if !comparisons.is_empty() {
            let fields: Vec<_> = comparisons.iter().map(|comparison| comparison.field).collect();
            reasons.push(format!("compared: {}", fields.join(", ")));
        }
        Verdict {
            status: appraised.tcb_status,
            trust: self.trust(appraised, findings.compared, findings.config_pinned),
            compared: findings.compared,
            simulated,
            root: appraised.root,
            reasons,
            comparisons,
        }
    }

    fn trust(&self, appraised: &Appraised, compared: bool, config_pinned: bool) -> TrustVector {
        use TrustVector as T;
        let vector = T::default();
        let hardware = match (appraised.root, appraised.tcb_status) {
            (Root::None, _) => return vector,
            // AR4SI has "not a genuine platform" among the contraindications.
            (Root::Simulated, _) => T::CONTRAINDICATED,
            (_, TcbStatus::UpToDate) => T::AFFIRMING,
            (_, TcbStatus::Revoked) => T::CONTRAINDICATED,
            _ => T::WARNING,
        };
        let memory = match (appraised.debug, appraised.root) {
            (true, _) | (_, Root::Simulated) => T::CONTRAINDICATED,
            _ => T::AFFIRMING,
        };
        let configuration = match appraised.tcb_status {
            TcbStatus::ConfigurationNeeded
            | TcbStatus::ConfigurationAndSWHardeningNeeded
            | TcbStatus::TDRelaunchAdvisedConfigurationNeeded
            | TcbStatus::OutOfDateConfigurationNeeded => T::WARNING,
            _ if config_pinned => T::AFFIRMING,
            _ => T::NONE,
        };
        let identity = match self.identity {
            // A CONFIGID is configuration: it says nothing of the machine.
            IdentityRule::AnyGenuine | IdentityRule::ConfigIds(_) => T::NONE,
            IdentityRule::Platforms(_) => T::AFFIRMING,
        };
        vector
            .with(Claim::InstanceIdentity, identity)
            .with(Claim::Configuration, configuration)
            .with(Claim::Executables, if compared { T::AFFIRMING } else { T::NONE })
            .with(Claim::Hardware, hardware)
            .with(Claim::RuntimeOpaque, memory)
    }
}

//! A bundle: collateral in one file, carried to sites that reach no service.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::snp::AmdSet;
use inclavared_attest::appraise::{AppraisalError, Collateral, Root, TrustRoots};
use serde_json::value::RawValue;

use super::{SetId, disk};

/// Whole sets with the name of the root of each. What was read is believed only after [`Bundle::verify`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    created: Timestamp,
    sets: Vec<(Root, Arc<Collateral>)>,
    /// AMD's, which have another form.
    amd: Vec<(Root, AmdSet)>,
}

impl Bundle {
    /// In an order of its own, so that the same sets make the same file.
    pub fn new(created: Timestamp, mut sets: Vec<(Root, Arc<Collateral>)>) -> Self {
        sets.sort_by_key(|(root, set)| (root_name(*root), set.id().to_string()));
        Self { created, sets, amd: Vec::new() }
    }

    /// Besides, sets of AMD's.
    pub fn with_amd(self, mut amd: Vec<(Root, AmdSet)>) -> Self {
        amd.sort_by_key(|(root, set)| (root_name(*root), set.id));
        Self { amd, ..self }
    }

    pub fn parse(json: &[u8]) -> Result<Self, BundleError> {
        let file: File = serde_json::from_slice(json).map_err(|error| BundleError::Form(error.to_string()))?;
        if file.format != FORMAT || file.version != VERSION {
            let found = format!("`{}` of version {}", file.format, file.version);
            return Err(BundleError::Form(format!("{found}, where `{FORMAT}` of version {VERSION} is read")));
        }
        if file.sets.len() > MAX_SETS {
            return Err(BundleError::Form(format!("{} sets, more than {MAX_SETS}", file.sets.len())));
        }
        let created = file.created.parse().map_err(BundleError::Form)?;
        let (mut sets, mut amd) = (Vec::new(), Vec::new());
        for (i, set) in file.sets.into_iter().enumerate() {
            let number = i + 1;
            let refused = |source| BundleError::Set { number, id: None, source };
            let root = match set.root.as_str() {
                "intel" => Root::Intel,
                "amd" => Root::Amd,
                "simulated" => Root::Simulated,
                other => return Err(BundleError::Form(format!("set {number}: no root is called `{other}`"))),
            };
            let json = set.collateral.get().as_bytes();
            if root == Root::Amd || is_amds(json) {
                amd.push((root, AmdSet::from_json(json).map_err(refused)?));
            } else {
                sets.push((root, Arc::new(Collateral::from_json(json).map_err(refused)?)));
            }
        }
        Ok(Self::new(created, sets).with_amd(amd))
    }

    pub fn to_json(&self) -> Vec<u8> {
        let intel = self.sets.iter().map(|(root, set)| (root, set.to_json()));
        let sets = intel.chain(self.amd.iter().map(|(root, set)| (root, set.to_json())));
        let sets = sets.map(|(root, json)| {
            let text = String::from_utf8(json).ok();
            let collateral =
                text.and_then(|text| RawValue::from_string(text).ok()).expect("a set writes itself as JSON");
            FileSet { root: root_name(*root).into(), collateral }
        });
        let file =
            File { format: FORMAT.into(), version: VERSION, created: self.created.to_string(), sets: sets.collect() };
        let mut json = serde_json::to_vec_pretty(&file).expect("strings and numbers always have a JSON form");
        json.push(b'\n');
        json
    }

    pub fn load(path: &Path) -> Result<Self, BundleError> {
        let io = |source| BundleError::Io { doing: "reading", path: path.into(), source };
        Self::parse(&disk::read(path).map_err(io)?)
    }

    /// Replaces the file in one step.
    pub fn save(&self, path: &Path) -> Result<(), BundleError> {
        let io = |source| BundleError::Io { doing: "writing", path: path.into(), source };
        disk::replace(path, &self.to_json()).map_err(io)
    }

    /// Every set, against its root, at `now`.
    pub fn verify(&self, roots: &TrustRoots, now: Timestamp) -> Result<(), BundleError> {
        for (i, (root, set)) in self.sets.iter().enumerate() {
            let number = i + 1;
            let der = roots.der(*root).ok_or(BundleError::NoRoot { number, root: *root })?;
            let id = Some(set.id().into());
            set.verify(der, now).map_err(|source| BundleError::Set { number, id, source })?;
        }
        for (i, (root, set)) in self.amd.iter().enumerate() {
            let number = self.sets.len() + i + 1;
            if roots.amd(*root).is_empty() {
                return Err(BundleError::NoRoot { number, root: *root });
            }
            let id = Some(set.id.into());
            set.verify(roots.amd(*root), now).map_err(|source| BundleError::Set { number, id, source })?;
        }
        Ok(())
    }

    pub fn created(&self) -> Timestamp {
        self.created
    }

    pub fn sets(&self) -> &[(Root, Arc<Collateral>)] {
        &self.sets
    }

    pub fn amd_sets(&self) -> &[(Root, AmdSet)] {
        &self.amd
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of all sets.
    pub fn len(&self) -> usize {
        self.sets.len() + self.amd.len()
    }

    /// The sets of one root, for a [`super::StaticSource`].
    pub fn of(&self, root: Root) -> Vec<Arc<Collateral>> {
        self.sets.iter().filter(|(own, _)| *own == root).map(|(_, set)| Arc::clone(set)).collect()
    }
}

/// One line a set: what it is for, how new it is, until when it serves. Nothing of it is verified.
impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} sets of collateral, written at {}", self.len(), self.created)?;
        for (root, set) in &self.sets {
            let epoch = set.epoch();
            let (id, expires, digest) = (set.id(), set.expires(), set.digest());
            writeln!(
                f,
                "{:<9}  {id}  number {}  issued {}  until {expires}  {digest}",
                root_name(*root),
                epoch.number,
                epoch.issued
            )?;
        }
        for (root, set) in &self.amd {
            let (id, keys, digest) = (set.id, set.certificates.len(), set.digest());
            writeln!(f, "{:<9}  {id}  {keys} certificates of keys  {digest}", root_name(*root))?;
        }
        Ok(())
    }
}

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    #[error("{doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("not a bundle of collateral: {0}")]
    Form(String),
    #[error("set {number} of the bundle{}", id.map(|id| format!(", for {id},")).unwrap_or_default())]
    Set {
        number: usize,
        id: Option<SetId>,
        #[source]
        source: AppraisalError,
    },
    #[error("set {number} of the bundle is for {root:?}, which is not among the roots of trust")]
    NoRoot { number: usize, root: Root },
}

const FORMAT: &str = "inclavared-collateral-bundle";
const VERSION: u32 = 1;

/// More models than any fleet has.
const MAX_SETS: usize = 1024;

#[derive(serde::Serialize, serde::Deserialize)]
struct File {
    format: String,
    version: u32,
    created: String,
    sets: Vec<FileSet>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct FileSet {
    root: String,
    collateral: Box<RawValue>,
}

/// Whether a set has AMD's form: it says itself what it is.
fn is_amds(json: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Probe {
        set: Option<String>,
    }
    serde_json::from_slice::<Probe>(json).is_ok_and(|probe| probe.set.is_some())
}

fn root_name(root: Root) -> &'static str {
    match root {
        Root::Intel => "intel",
        Root::Simulated => "simulated",
        Root::Amd => "amd",
        Root::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inclavared_attest::Reason;
    use inclavared_attest::evidence::Tee;
    use inclavared_attest::sim::{COLLATERAL_VALIDITY, SimPlatform};

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn platform_and_bundle() -> (SimPlatform, Bundle) {
        let platform = SimPlatform::generate(NOW).unwrap();
        let sets =
            [Tee::Tdx, Tee::Sgx].map(|tee| (Root::Simulated, Arc::new(platform.collateral(tee).unwrap().clone())));
        let bundle = Bundle::new(NOW, sets.into());
        (platform, bundle)
    }

    #[test]
    fn out_and_in_again() {
        let (platform, bundle) = platform_and_bundle();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.json");
        bundle.save(&path).unwrap();
        bundle.save(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        let read = Bundle::load(&path).unwrap();
        assert_eq!(read, bundle);
        assert_eq!(read.to_json(), bundle.to_json());
        read.verify(&TrustRoots::intel().with_simulated(platform.root_der()), NOW).unwrap();
        let shown = read.to_string();
        assert!(shown.contains("2 sets") && shown.contains("simulated  sgx/"), "{shown}");
        assert_eq!(read.of(Root::Simulated).len(), 2);
        assert!(read.of(Root::Intel).is_empty());
    }

    #[test]
    fn amds_sets_are_carried_too() {
        let platform = SimPlatform::generate(NOW).unwrap().with_amd(NOW).unwrap();
        let amd = platform.amd().unwrap();
        let vcek = amd.vcek(&platform.chip_id("a"), [0; 8], NOW).unwrap();
        let set = AmdSet { certificates: vec![vcek], ..amd.set().clone() };
        let sgx = (Root::Simulated, Arc::new(platform.collateral(Tee::Sgx).unwrap().clone()));
        let bundle = Bundle::new(NOW, vec![sgx]).with_amd(vec![(Root::Simulated, set)]);
        let read = Bundle::parse(&bundle.to_json()).unwrap();
        assert_eq!((&read, read.len()), (&bundle, 2));
        let roots = TrustRoots::intel().with_simulated(platform.root_der());
        let refused = read.verify(&roots, NOW).unwrap_err();
        assert!(matches!(refused, BundleError::NoRoot { number: 2, root: Root::Simulated }), "{refused}");
        read.verify(&roots.with_simulated_amd([amd.root().clone()]), NOW).unwrap();
        assert!(read.to_string().contains("sev-snp/milan/vcek  1 certificates"), "{read}");
    }

    #[test]
    fn refusals() {
        let (platform, bundle) = platform_and_bundle();
        let roots = TrustRoots::intel().with_simulated(platform.root_der());
        let other = TrustRoots::intel().with_simulated(SimPlatform::generate(NOW).unwrap().root_der());
        let refused = bundle.verify(&TrustRoots::intel(), NOW).unwrap_err();
        assert!(matches!(refused, BundleError::NoRoot { number: 1, root: Root::Simulated }), "{refused}");
        let reason = |refused: BundleError| match refused {
            BundleError::Set { number: 1, id: Some(_), source } => source.reason,
            other => panic!("{other}"),
        };
        assert_eq!(reason(bundle.verify(&other, NOW).unwrap_err()), Reason::Collateral);
        assert_eq!(reason(bundle.verify(&roots, NOW.plus(COLLATERAL_VALIDITY)).unwrap_err()), Reason::Expired);

        let json = String::from_utf8(bundle.to_json()).unwrap();
        for (from, to) in [
            ("bundle\"", "bungle\""),
            ("\"version\": 1", "\"version\": 2"),
            ("\"simulated\"", "\"intern\""),
            ("2027-", "yesterday-"),
        ] {
            let damaged = json.replacen(from, to, 1);
            assert_ne!(damaged, json, "{from}");
            let refused = Bundle::parse(damaged.as_bytes()).unwrap_err();
            assert!(matches!(refused, BundleError::Form(_)), "{refused}");
        }
        assert!(matches!(Bundle::parse(b"{").unwrap_err(), BundleError::Form(_)));
        assert!(matches!(Bundle::load(Path::new("/nonexistent/b.json")).unwrap_err(), BundleError::Io { .. }));
        let tampered = json.replacen("UpToDate", "Revoked", 1);
        let tampered = Bundle::parse(tampered.as_bytes()).unwrap();
        assert_eq!(reason(tampered.verify(&roots, NOW).unwrap_err()), Reason::Collateral);
    }
}

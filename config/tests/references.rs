//! Files of reference values that a policy names: what of them it takes, and whose signatures it asks for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code, outside of test functions")]

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::policy::{Applies, HopRule, Measurements, Policy, ReferenceValue};
use inclavared_attest::reference::signature::SigningKey;
use inclavared_attest::reference::sigstruct::{SAMPLE_SIGNER, SigStruct};
use inclavared_attest::{Digest, Timestamp};
use inclavared_config::{
    Errors, ImportMeta, ImportedEnclave, load_policy, parse_policy, render_imported, signature_file,
};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// A key pair: the private half, and the public half in a file.
    fn key(&self, name: &str) -> SigningKey {
        let key = HopKey::generate().unwrap();
        self.write(name, pem("PUBLIC KEY", key.spki()));
        SigningKey::from_pem(pem("PRIVATE KEY", key.pkcs8_der()).as_bytes()).unwrap()
    }

    fn values(&self, name: &str, text: &str, key: Option<&SigningKey>) {
        let path = self.write(name, text);
        if let Some(key) = key {
            fs::write(signature_file(&path), key.sign(text.as_bytes()).unwrap()).unwrap();
        }
    }

    fn policy(&self, rest: &str) -> Result<Policy, Errors> {
        let text = format!("[policy.p]\nidentity = \"any-genuine\"\n{rest}");
        parse_policy(self.0.path().join("policy.toml"), &text, Some("p"))
    }

    fn refused(&self, rest: &str) -> String {
        let errors = self.policy(rest).unwrap_err().to_string();
        errors.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

fn rules(policy: &Policy) -> &[HopRule] {
    match &policy.measurements {
        Measurements::Rules(rules) => rules,
        Measurements::NotCompared => panic!("{policy:?}"),
    }
}

fn values(key: Option<&SigningKey>) -> String {
    let key = key.map(|key| format!("[recorded]\nkey = \"{}\"\n", key.trusted().kid())).unwrap_or_default();
    format!(
        "{key}[policy.v]\nidentity = \"any-genuine\"\n[[policy.v.hop]]\nposition = 1\nmrenclave = \"{}\"\n\
         [[policy.v.hop]]\nlast = true\nmrtd = \"{}\"\nmrowner = \"{}\"\n",
        "11".repeat(32),
        "22".repeat(48),
        "33".repeat(48)
    )
}

#[test]
fn hop_tables_of_files_apply_where_they_say_or_where_they_are_named() {
    let folder = Folder::new();
    folder.values("v.toml", &values(None), None);
    let own = format!("[[policy.p.hop]]\nposition = 2\nmrenclave = \"{}\"\n", "44".repeat(32));
    let policy = folder.policy(&format!("reference_values = \"v.toml\"\n{own}")).unwrap();
    let applies: Vec<_> = rules(&policy).iter().map(|rule| rule.applies.clone()).collect();
    assert_eq!(applies, [Applies::Position(2), Applies::Position(1), Applies::Last]);
    assert_eq!(rules(&policy)[1].reference_values, [ReferenceValue::SgxEnclave { mrenclave: [0x11; 32] }]);
    assert_eq!(rules(&policy)[2].demands.len(), 1);

    let digest = format!("config_digest = \"{}\"", "55".repeat(32));
    let named = format!("[[policy.p.hop]]\nrole = \"relay\"\nreference_values = [\"v.toml#v\"]\n{digest}\n");
    let policy = folder.policy(&named).unwrap();
    assert_eq!(rules(&policy).len(), 2);
    for rule in rules(&policy) {
        assert_eq!(rule.applies, Applies::Role("relay".into()));
        assert_eq!(rule.config_digest.map(|digest| *digest.as_bytes()), Some([0x55; 32]));
    }
    // The digest of a policy covers what its files say, not their names.
    folder.values("w.toml", &values(None), None);
    assert_eq!(folder.policy(&named.replace("v.toml#v", "w.toml")).unwrap().digest(), policy.digest());
    folder.values("w.toml", &values(None).replace("11", "12"), None);
    assert_ne!(folder.policy(&named.replace("v.toml#v", "w.toml")).unwrap().digest(), policy.digest());
}

#[test]
fn a_field_narrows_what_a_file_says() {
    let folder = Folder::new();
    let guest = format!(
        "[policy.v]\nidentity = \"any-genuine\"\n[[policy.v.hop]]\nsnp_measurement = \"{}\"\n",
        "11".repeat(48)
    );
    folder.values("guest.toml", &guest, None);
    let shown = |rest: &str| {
        let policy = folder.policy(&format!("[[policy.p.hop]]\nreference_values = \"guest.toml\"\n{rest}")).unwrap();
        let demands = rules(&policy)[0].demands.iter();
        demands.map(|demand| format!("{} {}", demand.field, demand.test)).collect::<Vec<_>>()
    };
    assert_eq!(shown(""), ["vmpl 0 or lower"]);
    assert_eq!(shown("vmpl_max = 2"), ["vmpl 2 or lower"]);
    assert_eq!(shown("guest_policy_must_not = \"smt\""), ["guest_policy not set: smt", "vmpl 0 or lower"]);
    let policy = folder.policy("reference_values = \"guest.toml\"\n").unwrap();
    assert_eq!(rules(&policy)[0].demands[0].test.to_string(), "0 or lower");
    // What a file says itself stays.
    folder.values("guest.toml", &format!("{guest}vmpl_max = 1\n"), None);
    assert_eq!(shown(""), ["vmpl 1 or lower"]);
    assert_eq!(shown("vmpl_max = 2"), ["vmpl 1 or lower", "vmpl 2 or lower"]);
    let wrong = folder.refused("[[policy.p.hop]]\nreference_values = \"guest.toml\"\nxfam = \"0000000000000000\"");
    let expected = "policy.toml:5: policy.p.hop[1].xfam: a field of `tdx`, and the reference values of this table are of \
                    `sev-snp`; leave it out, or write a hop table of its own for that TEE";
    assert_eq!(wrong, expected);
}

#[test]
fn a_signature_that_is_asked_for_has_to_hold() {
    let folder = Folder::new();
    let (ours, theirs) = (folder.key("ours.pem"), folder.key("theirs.pem"));
    let demand = "reference_values = \"v.toml\"\nsigned_by = \"ours.pem\"\n";
    let text = values(Some(&ours));

    folder.values("v.toml", &text, Some(&ours));
    assert_eq!(rules(&folder.policy(demand).unwrap()).len(), 2);
    // As text, too, and by one of several keys.
    folder.write("v.toml.sig", BASE64_STANDARD.encode(ours.sign(text.as_bytes()).unwrap()));
    folder.policy("reference_values = \"v.toml\"\nsigned_by = [\"theirs.pem\", \"ours.pem\"]\n").unwrap();
    let hop = "signed_by = \"ours.pem\"\n[[policy.p.hop]]\nreference_values = \"v.toml\"\n";
    folder.policy(hop).unwrap();

    let prefix = "policy.toml:3: policy.p.reference_values: ";
    let anew = "; take the file from its signer anew, or name that key in `signed_by`";
    fs::remove_file(folder.0.path().join("v.toml.sig")).unwrap();
    let unsigned = "`v.toml` is not signed: there is no `v.toml.sig`; sign it (`shelter record --sign-key KEY`), or leave \
                    `signed_by` out";
    assert_eq!(folder.refused(demand), format!("{prefix}{unsigned}"));
    assert_eq!(folder.refused(hop), format!("policy.toml:5: policy.p.hop[1].reference_values: {unsigned}"));

    folder.values("v.toml", &text, Some(&ours));
    folder.write("v.toml", text.replace("position = 1", "position = 2"));
    let key = ours.trusted().kid();
    let altered = "the file or its signature was altered: it names the trusted key";
    assert_eq!(
        folder.refused(demand),
        format!("{prefix}`v.toml`: {altered} {}, and that key did not sign it{anew}", key.0)
    );

    folder.values("v.toml", &values(Some(&theirs)), Some(&theirs));
    let key = theirs.trusted().kid();
    let other = format!("the file is signed with the key {}, which is not trusted", key.0);
    assert_eq!(folder.refused(demand), format!("{prefix}`v.toml`: {other}{anew}"));

    folder.values("v.toml", &values(None), Some(&theirs));
    let wrong = "no trusted key signed this file: it was altered, or signed with another key";
    assert_eq!(folder.refused(demand), format!("{prefix}`v.toml`: {wrong}{anew}"));

    folder.write("v.toml.sig", "signed, really");
    let form = "the signature is no ECDSA signature in ASN.1, raw or in base64";
    assert_eq!(folder.refused(demand), format!("{prefix}`v.toml`: {form}{anew}"));
}

#[test]
fn imported_enclaves_are_reference_values() {
    let folder = Folder::new();
    let sigstruct = SigStruct {
        mrsigner: [2; 32],
        mrenclave: [1; 32],
        isv_prod_id: 3,
        isv_svn: 4,
        attributes: [0x87; 16],
        attributes_mask: [0xfd; 16],
        misc_select: [0; 4],
        misc_mask: [0xff; 4],
        isv_family_id: [5; 16],
        isv_ext_prod_id: [6; 16],
        date: (2026, 1, 31),
        vendor: 0,
    };
    let plain = SigStruct { attributes: [4; 16], attributes_mask: [0; 16], misc_mask: [0; 4], ..sigstruct };
    let file = |sigstruct| ImportedEnclave { file: "a\nb.sig".into(), sha256: Digest::of(b"file"), sigstruct };
    let meta = ImportMeta {
        policy: "imported",
        by: "shelter",
        version: "0.1.0",
        operator: Some("release"),
        at: Timestamp(1_800_000_000),
        key: None,
        role: None,
    };
    let text = render_imported(&[file(sigstruct.clone()), file(plain)], &meta);
    folder.write("i.toml", &text);
    let policy = load_policy(Path::new(&folder.0.path().join("i.toml")), None).unwrap();
    let shown =
        |rule: &HopRule| rule.demands.iter().map(|demand| format!("{} {}", demand.field, demand.test)).collect();
    let demands: Vec<Vec<String>> = rules(&policy).iter().map(shown).collect();
    let signer = ["mrsigner ".to_owned() + &"02".repeat(32), "isvprodid 3".into(), "isvsvn 4 or higher".into()];
    let launch = [
        "isvfamilyid ".to_owned() + &"05".repeat(16),
        "isvextprodid ".to_owned() + &"06".repeat(16),
        // INIT and DEBUG, which the signer's mask leaves open, are not compared.
        format!("attributes 84{} under the mask fc{}", "85".repeat(15), "fd".repeat(15)),
        "miscselect 00000000 under the mask ffffffff".into(),
    ];
    assert_eq!(demands, [[&signer[..], &launch].concat(), signer.to_vec()]);
    assert_eq!(rules(&policy)[0].reference_values, [ReferenceValue::SgxEnclave { mrenclave: [1; 32] }]);
    assert!(rules(&policy).iter().all(|rule| rule.applies == Applies::Any));

    let sample = SigStruct { mrsigner: SAMPLE_SIGNER, ..sigstruct };
    assert!(render_imported(&[file(sample)], &meta).contains("# Keep mrenclave: this signer's key is published"));
    let meta = ImportMeta { role: Some("workload"), ..meta };
    folder.write("i.toml", render_imported(&[file(sigstruct)], &meta));
    let policy = folder.policy("reference_values = \"i.toml\"\n").unwrap();
    assert_eq!(rules(&policy)[0].applies, Applies::Role("workload".into()));
}

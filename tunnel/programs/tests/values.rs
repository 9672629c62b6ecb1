//! `shelter import`, `measure` and `diff`, and signed files of reference values: the real program over files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use inclavared_attest::Timestamp;
use inclavared_attest::attester::{Attester as _, UserData};
use inclavared_attest::evidence::Claims;
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::policy::{Field, FieldValue};
use inclavared_attest::sim::{SimAttester, SimPlatform, SimSpec};
use serde_json::{Value, json};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn run(&self, program: &str, line: &str) -> Output {
        let mut command = Command::new(program);
        command.args(line.split_whitespace()).current_dir(self.0.path()).env("USER", "tester").output().unwrap()
    }

    fn shelter(&self, line: &str) -> (Option<i32>, String, String) {
        let done = self.run(env!("CARGO_BIN_EXE_shelter"), line);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    }

    fn openssl(&self, line: &str) -> Vec<u8> {
        let done = self.run("openssl", line);
        assert!(done.status.success(), "{line}: {done:?}");
        done.stdout
    }

    /// A key for files of reference values, made as the documents say.
    fn signing_key(&self, name: &str) {
        self.openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"));
        self.openssl(&format!("pkey -in {name}.key -pubout -out {name}.pem"));
    }

    /// A SIGSTRUCT of an enclave with KSS, signed by a key of its own.
    fn sigstruct(&self, name: &str, mrenclave: &[u8; 32]) {
        let key = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -pkeyopt rsa_keygen_pubexp:3 -out enclave.key";
        self.openssl(key);
        let text = String::from_utf8(self.openssl("rsa -in enclave.key -noout -modulus")).unwrap();
        let mut modulus = hex::decode(text.trim().strip_prefix("Modulus=").unwrap()).unwrap();
        modulus.reverse();
        let mut bytes = vec![0; 1808];
        bytes[..16].copy_from_slice(&hex::decode("06000000e10000000000010000000000").unwrap());
        bytes[20..24].copy_from_slice(&0x2026_0131_u32.to_le_bytes());
        bytes[24..40].copy_from_slice(&hex::decode("01010000600000006000000001000000").unwrap());
        bytes[128..512].copy_from_slice(&modulus);
        bytes[512] = 3;
        bytes[904..908].fill(0xff);
        bytes[912..928].fill(0xfa);
        (bytes[928], bytes[936]) = (0x84, 3);
        bytes[944..960].fill(0xff);
        bytes[944] = 0xfd;
        bytes[960..992].copy_from_slice(mrenclave);
        bytes[1008..1024].fill(0xeb);
        bytes[1024..1028].copy_from_slice(&[7, 0, 9, 0]);
        self.write("message", [&bytes[..128], &bytes[900..1028]].concat());
        let mut signature = self.openssl("dgst -sha256 -sign enclave.key message");
        signature.reverse();
        bytes[516..900].copy_from_slice(&signature);
        self.write(name, bytes);
    }
}

/// One page of code in an SGX stream.
fn stream(byte: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut record = |tag: &[u8; 8], rest: &[u8], content: &[u8]| {
        let start = out.len();
        out.extend(tag);
        out.extend(rest);
        out.resize(start + 64, 0);
        out.extend(content);
    };
    record(b"ECREATE\0", &[&1u32.to_le_bytes()[..], &0x2000u64.to_le_bytes()].concat(), &[]);
    record(b"EADD\0\0\0\0", &[0u64.to_le_bytes(), 0x205u64.to_le_bytes()].concat(), &[]);
    for i in 0..16u64 {
        record(b"EEXTEND\0", &(i * 256).to_le_bytes(), &[byte; 256]);
    }
    out
}

#[test]
fn from_an_image_to_a_verdict() {
    let folder = Folder::new();
    folder.write("enclave.sgxs", stream(1));
    let (code, out, _) = folder.shelter("measure sgx enclave.sgxs --json");
    let measured: Value = serde_json::from_str(&out).unwrap();
    let mrenclave = measured["mrenclave"].as_str().unwrap().to_owned();
    assert_eq!((code, &measured["pages"], &measured["agrees"]), (Some(0), &json!(1), &Value::Null));
    let mut bytes = [0; 32];
    hex::decode_to_slice(&mrenclave, &mut bytes).unwrap();
    folder.sigstruct("enclave.sig", &bytes);
    let (code, out, _) = folder.shelter("measure sgx enclave.sgxs --sigstruct enclave.sig");
    assert_eq!(code, Some(0));
    assert!(out.contains(&format!("the same as the SIGSTRUCT names: {mrenclave}\n")), "{out}");
    folder.write("other.sgxs", stream(2));
    let (code, out, _) = folder.shelter("measure sgx other.sgxs --sigstruct enclave.sig");
    assert_eq!(code, Some(1));
    assert!(out.contains("ANOTHER as the SIGSTRUCT names"), "{out}");

    folder.signing_key("release");
    let (code, out, err) =
        folder.shelter("import enclave.sig --role workload --out values.toml --sign-key release.key");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("1 enclaves imported in values.toml: "), "{out}");
    let text = fs::read_to_string(folder.path("values.toml")).unwrap();
    assert!(text.contains("operator = \"tester\"") && text.contains(&mrenclave), "{text}");
    // Anybody can check it.
    folder.openssl("dgst -sha256 -verify release.pem -signature values.toml.sig values.toml");
    folder.write(
        "policy.toml",
        "[policy.p]\nallow_simulated = true\nidentity = \"any-genuine\"\nreference_values = \"values.toml\"\n\
         signed_by = \"release.pem\"\n",
    );

    let now = Timestamp::now();
    let platform = Arc::new(SimPlatform::load_or_create(&folder.path("platform"), now).unwrap());
    let mut spec = SimSpec { mrenclave: bytes, isv_prod_id: 7, isv_svn: 9, ..SimSpec::sgx("enclave") };
    let modulus = &fs::read(folder.path("enclave.sig")).unwrap()[128..512];
    spec.mrsigner = *inclavared_attest::Digest::of(modulus).as_bytes();
    for (field, value) in [
        (Field::Attributes, hex::decode("85000000000000000300000000000000").unwrap()),
        (Field::IsvFamilyId, vec![0xfa; 16]),
        (Field::IsvExtProdId, vec![0xeb; 16]),
    ] {
        spec.set(field, &FieldValue::Bytes(value)).unwrap();
    }
    let judge = |spec: &SimSpec| {
        let attester = SimAttester::new(&platform, spec.clone()).unwrap();
        let hop = inclavared_attest::evidence::HopClaims {
            version: 1,
            chain_role: "workload".into(),
            policy_digest: inclavared_attest::PolicyDigest::of(b""),
            not_after: now.plus(std::time::Duration::from_secs(600)),
            config_digest: inclavared_attest::ConfigDigest::of(b""),
        };
        let issued = inclavared_attest::certificate::issue(&HopKey::generate().unwrap(), &attester, hop, now).unwrap();
        folder.write("evidence", issued.der());
        let line = "appraise --evidence evidence --verifier sim --platform platform --policy policy.toml --json";
        let (code, out, err) = folder.shelter(line);
        (code, serde_json::from_str::<Value>(&out).unwrap_or_else(|error| panic!("{error}: {err}")))
    };
    let (code, verdict) = judge(&spec);
    assert_eq!((code, &verdict["reference_values"]), (Some(0), &json!("compared")), "{verdict:#}");
    let told = "compared: mrenclave, mrsigner, isvprodid, isvsvn, isvfamilyid, isvextprodid, attributes, miscselect";
    assert!(verdict["reasons"].as_array().unwrap().contains(&json!(told)), "{verdict:#}");
    assert_eq!(verdict["comparisons"][3], json!({ "field": "isvsvn", "expected": "9 or higher", "found": "9" }));
    let (code, verdict) = judge(&SimSpec { isv_svn: 8, ..spec.clone() });
    assert_eq!((code, &verdict["error"]["code"]), (Some(1), &json!("measurement")));
    assert_eq!(verdict["error"]["message"], "policy `p`, isvsvn: expected 9 or higher, found 8");
    let (code, verdict) = judge(&SimSpec { isv_ext_prod_id: [0; 16], ..spec });
    let said = format!("policy `p`, isvextprodid: expected {}, found {}", "eb".repeat(16), "00".repeat(16));
    assert_eq!((code, &verdict["error"]["message"]), (Some(1), &json!(said)));
}

#[test]
fn a_policy_that_asks_for_a_signature_gets_one() {
    let folder = Folder::new();
    folder.signing_key("release");
    folder.signing_key("other");
    folder.sigstruct("enclave.sig", &[5; 32]);
    folder.write(
        "policy.toml",
        "[policy.p]\nidentity = \"any-genuine\"\nreference_values = \"v.toml\"\nsigned_by = \"release.pem\"\n",
    );
    let load = || folder.shelter("appraise --evidence none --policy policy.toml");
    let refused = |said: &str| {
        let (code, _, err) = load();
        assert_eq!(code, Some(2));
        assert!(err.starts_with("policy.toml:3: policy.p.reference_values: ") && err.contains(said), "{err}");
    };
    refused("v.toml: cannot be read");
    assert_eq!(folder.shelter("import enclave.sig --out v.toml").0, Some(0));
    refused("`v.toml` is not signed: there is no `v.toml.sig`");
    // Signed afterwards, by a tool that is not ours.
    folder.openssl("dgst -sha256 -sign release.key -out v.toml.sig v.toml");
    let (code, _, err) = load();
    assert_eq!(code, Some(2));
    assert!(!err.contains("v.toml") && err.contains("none: cannot be read"), "{err}");
    folder.openssl("dgst -sha256 -sign other.key -out v.toml.sig v.toml");
    refused("no trusted key signed this file");

    assert_eq!(folder.shelter("import enclave.sig --out v.toml --force --sign-key other.key").0, Some(0));
    refused("which is not trusted");
    assert_eq!(folder.shelter("import enclave.sig --out v.toml --force --sign-key release.key").0, Some(0));
    assert!(load().2.contains("none: cannot be read"));
    let text = fs::read_to_string(folder.path("v.toml")).unwrap();
    folder.write("v.toml", text.replace("isvsvn_min = 9", "isvsvn_min = 0"));
    refused("the file or its signature was altered: it names the trusted key");

    let (code, _, err) = folder.shelter("import enclave.sig --out w.toml --sign-key release.pem");
    assert_eq!(code, Some(2));
    assert!(err.contains("release.pem: this key cannot sign: no P-256 private key in PKCS#8 and PEM"), "{err}");
    assert!(!folder.path("w.toml").exists());
}

#[test]
fn files_that_are_no_enclaves_are_named() {
    let folder = Folder::new();
    folder.write("text", "hello");
    folder.write("program", b"\x7fELF");
    folder.sigstruct("enclave.sig", &[5; 32]);
    let mut altered = fs::read(folder.path("enclave.sig")).unwrap();
    altered[1026] ^= 1;
    folder.write("altered.sig", altered);
    for (line, said) in [
        ("import none", "shelter: none: cannot be read; name a readable file: No such file"),
        ("import text", "shelter: text: 5 bytes, and no ELF file: neither a SIGSTRUCT (1808 bytes) nor an enclave"),
        ("import program", "shelter: program: an ELF file that is damaged"),
        (
            "import enclave.sig altered.sig",
            "shelter: altered.sig: its SIGSTRUCT cannot be believed: its signature does not hold",
        ),
        (
            "measure sgx text",
            "shelter: text: it cannot be measured: neither an SGX stream (`.sgxs`) nor an enclave signed with",
        ),
        (
            "measure sgx enclave.sig",
            "shelter: enclave.sig: it cannot be measured: neither an SGX stream (`.sgxs`) nor an enclave signed with",
        ),
        (
            "measure sgx program",
            "shelter: program: it cannot be measured: an enclave of Intel's SDK that cannot be measured: its metadata: an ELF",
        ),
    ] {
        let (code, out, err) = folder.shelter(line);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{line}: {err}");
        assert!(err.starts_with(said), "{line}: {err}");
    }
}

#[test]
fn two_files_are_compared() {
    let folder = Folder::new();
    folder.sigstruct("a.sig", &[5; 32]);
    assert_eq!(folder.shelter("import a.sig --out a.toml --name x").0, Some(0));
    let text = fs::read_to_string(folder.path("a.toml")).unwrap();
    folder.write("b.toml", text.replace(&"05".repeat(32), &"06".repeat(32)).replace("isvprodid = 7", "isvprodid = 8"));
    let (code, out, _) = folder.shelter("diff a.toml a.toml#x");
    assert_eq!((code, out.as_str()), (Some(0), "No difference between a.toml and a.toml#x\n"));
    let (code, out, _) = folder.shelter("diff a.toml b.toml");
    let expected = format!(
        "- a.toml\n+ b.toml\nany hop\n  mrenclave\n    - {}\n    + {}\n  isvprodid\n    - 7\n    + 8\n",
        "05".repeat(32),
        "06".repeat(32)
    );
    assert_eq!((code, out), (Some(1), expected));
    let (code, out, _) = folder.shelter("diff a.toml b.toml --json");
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["same"], json["differences"].as_array().map(Vec::len)), (Some(1), &json!(false), Some(2)));
    assert_eq!(json["differences"][1], json!({ "place": "any hop", "key": "isvprodid", "a": "7", "b": "8" }));
    assert_eq!(folder.shelter("diff a.toml none.toml").0, Some(2));
}

/// A bare quote is judged by the same fields.
#[test]
fn a_bare_quote_is_compared_field_by_field() {
    let folder = Folder::new();
    let platform = Arc::new(SimPlatform::load_or_create(&folder.path("platform"), Timestamp::now()).unwrap());
    let mut spec = SimSpec::tdx("guest");
    spec.set(Field::Xfam, &FieldValue::Bytes(vec![0xe7, 0, 6, 0, 0, 0, 0, 0])).unwrap();
    let attester = SimAttester::new(&platform, spec.clone()).unwrap();
    let claims = Claims::new(HopKey::generate().unwrap().kid(), None);
    folder.write("quote", attester.quote(&UserData::of(&claims)).unwrap());
    let judge = |fields: &str| {
        let mrtd = hex::encode(spec.mrtd);
        folder.write(
            "policy.toml",
            format!("[policy.p]\nallow_simulated = true\nidentity = \"any-genuine\"\n[[policy.p.hop]]\nmrtd = \"{mrtd}\"\n{fields}"),
        );
        let (code, out, err) =
            folder.shelter("appraise --evidence quote --verifier sim --platform platform --policy policy.toml --json");
        (code, serde_json::from_str::<Value>(&out).unwrap_or_else(|error| panic!("{error}: {err}")))
    };
    assert_eq!(judge("xfam = \"e700060000000000\"").0, Some(0));
    assert_eq!(judge("xfam = \"e700000000000000\"\nxfam_mask = \"ff00000000000000\"").0, Some(0));
    let (code, verdict) = judge("xfam = \"e700000000000000\"");
    let said = "policy `p`, xfam: expected e700000000000000, found e700060000000000";
    assert_eq!((code, &verdict["error"]["message"]), (Some(1), &json!(said)));
}

//! Reference values from a signer's files (SIGSTRUCT), written in the form of a recorded file.

use std::fmt::Write;

use inclavared_attest::reference::sigstruct::SigStruct;
use inclavared_attest::{Digest, KeyId, Timestamp};

use super::recorded::{key, quoted, write_entries};

/// One file that was imported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportedEnclave {
    /// The file's name, as it was typed.
    pub file: String,
    /// The digest of the whole file.
    pub sha256: Digest,
    /// What the signer states in it, read from a signature that holds.
    pub sigstruct: SigStruct,
}

/// Who imported, and as what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportMeta<'a> {
    /// The name of the policy in the file.
    pub policy: &'a str,
    /// The tool (`shelter`).
    pub by: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Who used the tool, in words of their own.
    pub operator: Option<&'a str>,
    /// When the files were imported.
    pub at: Timestamp,
    /// Who signs the file.
    pub key: Option<KeyId>,
    /// The role in which this code may stand. `None`: at any hop.
    pub role: Option<&'a str>,
}

/// The file, as [`crate::load_policy`] and `reference_values` read it.
#[must_use]
pub fn render_imported(enclaves: &[ImportedEnclave], meta: &ImportMeta<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_imported(&mut out, enclaves, meta);
    out
}

fn write_imported(out: &mut String, enclaves: &[ImportedEnclave], meta: &ImportMeta<'_>) -> std::fmt::Result {
    writeln!(
        out,
        "# Reference values of SGX enclaves, imported from what their signer states. The signatures hold; whether"
    )?;
    writeln!(
        out,
        "# the signer is to be trusted, and these files are the ones that were meant, is for you to know.\n"
    )?;
    writeln!(out, "[recorded]")?;
    let files: Vec<_> = enclaves.iter().map(|one| quoted(&format!("{} sha256:{}", one.file, one.sha256))).collect();
    writeln!(out, "files = [{}]", files.join(", "))?;
    let entries = [
        ("by", Some(meta.by.to_owned())),
        ("version", Some(meta.version.to_owned())),
        ("operator", meta.operator.map(str::to_owned)),
        ("at", Some(meta.at.to_string())),
        ("key", meta.key.map(|key| key.to_string())),
    ];
    write_entries(out, &entries)?;
    writeln!(out, "[policy.{}]", key(meta.policy))?;
    writeln!(out, "# This code on anybody's machine passes.")?;
    writeln!(out, "identity = \"any-genuine\"")?;
    enclaves.iter().try_for_each(|enclave| write_enclave(out, enclave, meta))
}

fn write_enclave(out: &mut String, enclave: &ImportedEnclave, meta: &ImportMeta<'_>) -> std::fmt::Result {
    let sigstruct = &enclave.sigstruct;
    let (year, month, day) = sigstruct.date;
    writeln!(out, "\n# {}, signed on {year:04}-{month:02}-{day:02}.", quoted(&enclave.file))?;
    if sigstruct.debug() {
        writeln!(
            out,
            "# It can only be launched as a debug enclave, which a policy refuses unless it says otherwise."
        )?;
    }
    writeln!(out, "[[policy.{}.hop]]", key(meta.policy))?;
    if let Some(role) = meta.role {
        writeln!(out, "role = {}", quoted(role))?;
    }
    let mut value = |key: &str, bytes: &[u8]| writeln!(out, "{key} = \"{}\"", hex::encode(bytes));
    value("mrenclave", &sigstruct.mrenclave)?;
    value("mrsigner", &sigstruct.mrsigner)?;
    let set = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    if sigstruct.kss() {
        for (key, id) in [("isvfamilyid", &sigstruct.isv_family_id), ("isvextprodid", &sigstruct.isv_ext_prod_id)] {
            value(key, id)?;
        }
    }
    let (attributes, mask) = sigstruct.report_attributes();
    if set(&mask) {
        value("attributes", &attributes)?;
        value("attributes_mask", &mask)?;
    }
    let (misc, mask) = sigstruct.report_misc();
    if set(&mask) {
        value("miscselect", &misc)?;
        value("miscselect_mask", &mask)?;
    }
    writeln!(out, "isvprodid = {}", sigstruct.isv_prod_id)?;
    writeln!(out, "isvsvn_min = {}", sigstruct.isv_svn)?;
    if sigstruct.is_sample_signer() {
        return writeln!(
            out,
            "# Keep mrenclave: this signer's key is published with Intel's SDK, and anybody can sign with it."
        );
    }
    writeln!(out, "# To follow the signer's releases, leave mrenclave out: mrsigner, isvprodid and isvsvn_min stay.")
}

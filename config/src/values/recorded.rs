//! Files of reference values: what a verifier saw on a path that it had verified, as a policy.
//!
//! Such a file accepts exactly the code that was seen, at the positions where it was seen. It is a start, not a
//! judgement: whoever recorded it has to know that the path was a good one at that moment.

use std::collections::BTreeSet;
use std::fmt::Write;

use inclavared_attest::appraise::{CodeIdentity, TcbStatus};
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{
    Field, FieldValue, GUEST_POLICY_BITS, IdentityRule, Measurements, PathEnd, Policy, TcbPolicy,
};
use inclavared_attest::{ConfigDigest, KeyId, Timestamp};

use crate::document::{Table, show_duration};
use crate::words::{BINDINGS, SNP_PRODUCTS, tee_word};

/// One hop of a verified path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedHop {
    /// 1 is the hop next to the verifier.
    pub position: u8,
    /// What the hop calls itself.
    pub role: String,
    /// The kind of TEE that it runs in.
    pub tee: Tee,
    /// What was measured of it.
    pub code: CodeIdentity,
    /// Whether its platform was a simulated one.
    pub simulated: bool,
    /// Whether its TEE can be debugged, so that its memory is open to its host.
    pub debug: bool,
    /// The state of its platform, as it was appraised.
    pub tcb_status: TcbStatus,
    /// What names the machine. It is shown in the file and not compared.
    pub platform_ids: Vec<Vec<u8>>,
    /// The configuration that the hop attests, if it attests one. It is compared only if the path was verified with it.
    pub config_digest: Option<ConfigDigest>,
}

/// Who recorded what, and under which rules it was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordMeta<'a> {
    /// The name of the policy in the file.
    pub policy: &'a str,
    /// The tool (`shelter`).
    pub by: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Who used the tool, in words of their own.
    pub operator: Option<&'a str>,
    /// When the path was verified.
    pub at: Timestamp,
    /// The address of the path's first hop.
    pub path: &'a str,
    /// How the path ended.
    pub end: PathEnd,
    /// The policy that the path was verified under. What is recorded is not laxer than this policy.
    pub verified_under: &'a Policy,
    /// The key that signs the file. It is named so that a reader can say what is wrong with a signature.
    pub key: Option<KeyId>,
}

/// The file, as [`crate::load_policy`] reads it.
///
/// A hop without evidence has no reference values: it gets a comment and no rule, and so will be refused. Text that
/// came from peers is quoted, and cannot become TOML.
#[must_use]
pub fn render_recorded(hops: &[RecordedHop], meta: &RecordMeta<'_>) -> String {
    render_recorded_path(hops, None, meta)
}

/// [`render_recorded`] of a path that may end in an attested peer which does not speak this protocol. Such a peer is no
/// hop of the path's shape, and it is judged as the last one.
#[must_use]
pub fn render_recorded_path(hops: &[RecordedHop], legacy: Option<&RecordedHop>, meta: &RecordMeta<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_header(&mut out, meta).and_then(|()| write_policy(&mut out, hops, legacy, meta));
    out
}

fn write_header(out: &mut String, meta: &RecordMeta<'_>) -> std::fmt::Result {
    writeln!(out, "# Reference values of one path, recorded from its evidence. They say what ran there at that")?;
    writeln!(out, "# moment, not that it was good: record only a path that you have reason to trust, and keep this")?;
    writeln!(out, "# file where the hops cannot write.\n")?;
    writeln!(out, "[recorded]")?;
    let written = [
        ("by", Some(meta.by.to_owned())),
        ("version", Some(meta.version.to_owned())),
        ("operator", meta.operator.map(str::to_owned)),
        ("at", Some(meta.at.to_string())),
        ("path", Some(meta.path.to_owned())),
        ("verified_under", Some(meta.verified_under.name.clone())),
        ("policy_digest", Some(meta.verified_under.digest().to_string())),
        ("key", meta.key.map(|key| key.to_string())),
    ];
    write_entries(out, &written)
}

/// `[recorded]`'s keys, those that are known.
pub(crate) fn write_entries(out: &mut String, entries: &[(&str, Option<String>)]) -> std::fmt::Result {
    for (key, value) in entries {
        if let Some(value) = value {
            writeln!(out, "{key} = {}", quoted(value))?;
        }
    }
    writeln!(out)
}

fn write_policy(
    out: &mut String,
    hops: &[RecordedHop],
    legacy: Option<&RecordedHop>,
    meta: &RecordMeta<'_>,
) -> std::fmt::Result {
    let all: Vec<&RecordedHop> = hops.iter().chain(legacy).collect();
    let any = |seen: fn(&RecordedHop) -> bool| all.iter().any(|hop| seen(hop));
    writeln!(out, "[policy.{}]", key(meta.policy))?;
    if any(|hop| hop.simulated) {
        writeln!(out, "# A simulated platform was seen: nothing of this is proven by hardware.")?;
        writeln!(out, "allow_simulated = true")?;
    }
    if any(|hop| hop.debug) {
        writeln!(out, "# A debug enclave or TD was seen: its memory is open to its host.")?;
        writeln!(out, "danger_allow_debug = true")?;
    }
    write_tcb(out, &all, &meta.verified_under.tcb)?;
    write_identity(out, &all, meta.verified_under)?;
    writeln!(out, "# The hops in order, from the verifier to the workload.")?;
    writeln!(out, "order = [{}]", order(hops).join(", "))?;
    writeln!(out, "max_hops = {}", hops.len())?;
    match meta.end {
        PathEnd::Terminal(kind) => {
            writeln!(out, "# How the last hop reaches the workload.")?;
            writeln!(out, "terminal = [{}]", quoted(kind.name()))?;
        }
        PathEnd::Legacy => {
            writeln!(out, "# The last hop's peer is attested and does not speak this protocol.")?;
            writeln!(out, "allow_legacy_end = true")?;
        }
    }
    let under = meta.verified_under;
    let binding = BINDINGS.iter().find(|(_, known)| *known == under.binding).map_or("key", |(word, _)| word);
    writeln!(out, "binding = {}", quoted(binding))?;
    if under.refuse_warm_legs {
        writeln!(out, "warm_legs = \"refuse\"")?;
    }
    for (key, age) in [("max_evidence_age", under.max_evidence_age), ("max_path_age", under.max_path_age)] {
        writeln!(out, "{key} = {}", quoted(&show_duration(age)))?;
    }
    hops.iter().try_for_each(|hop| write_hop(out, hop, &format!("position = {}", hop.position), meta))?;
    legacy.into_iter().try_for_each(|peer| write_hop(out, peer, "last = true", meta))
}

fn write_tcb(out: &mut String, hops: &[&RecordedHop], under: &TcbPolicy) -> std::fmt::Result {
    // A platform that is brought up to date must not fall out of its own reference values; worse states than the ones
    // that were seen were never judged good by anybody.
    let mut statuses = BTreeSet::from([TcbStatus::UpToDate]);
    let mut graced = false;
    for seen in hops.iter().map(|hop| hop.tcb_status) {
        match seen {
            seen if under.accepted.contains(&seen) => drop(statuses.insert(seen)),
            // It passed by grace, which ends: written as a status it would pass for ever.
            TcbStatus::OutOfDate => graced = true,
            TcbStatus::OutOfDateConfigurationNeeded => {
                graced = true;
                statuses.insert(TcbStatus::ConfigurationNeeded);
            }
            _ => (),
        }
    }
    let names: Vec<_> = statuses.iter().map(|status| quoted(status.name())).collect();
    writeln!(out, "# The platform states that were seen, and UpToDate: patching a platform must not lock it out.")?;
    writeln!(out, "tcb = [{}]", names.join(", "))?;
    if graced {
        writeln!(out, "# An out-of-date platform was seen, within the grace that the path was verified under.")?;
        writeln!(out, "grace = {}", quoted(&show_duration(under.grace)))?;
    }
    if !under.refused_advisories.is_empty() {
        let names: Vec<_> = under.refused_advisories.iter().map(|name| quoted(name)).collect();
        writeln!(out, "refused_advisories = [{}]", names.join(", "))?;
    }
    if let Some(allowed) = &under.allowed_advisories {
        let names: Vec<_> = allowed.iter().map(|name| quoted(name)).collect();
        writeln!(out, "allowed_advisories = [{}]", names.join(", "))?;
    }
    for (key, allowed) in [
        ("allow_smt", under.allow_smt),
        ("allow_dynamic_platform", under.allow_dynamic_platform),
        ("allow_cached_keys", under.allow_cached_keys),
    ] {
        writeln!(out, "{key} = {allowed}")?;
    }
    write_snp_min(out, under)
}

fn write_snp_min(out: &mut String, under: &TcbPolicy) -> std::fmt::Result {
    if under.snp_min.is_empty() {
        return Ok(());
    }
    let products = SNP_PRODUCTS.iter().filter_map(|(key, product)| Some((key, under.snp_min.get(product)?)));
    let shown = products.map(|(key, min)| {
        let fmc = min.fmc.map_or_else(String::new, |fmc| format!("fmc = {fmc}, "));
        let (bootloader, tee, snp, microcode) = (min.bootloader, min.tee, min.snp, min.microcode);
        format!("{key} = {{ {fmc}bootloader = {bootloader}, tee = {tee}, snp = {snp}, microcode = {microcode} }}")
    });
    writeln!(out, "snp_min = {{ {} }}", shown.collect::<Vec<_>>().join(", "))
}

fn write_identity(out: &mut String, hops: &[&RecordedHop], under: &Policy) -> std::fmt::Result {
    if let Some(named) = &under.named {
        let uris: Vec<_> = named.uris.iter().map(|uri| quoted(uri)).collect();
        writeln!(
            out,
            "# The names that the path was verified under. The authority's certificate has to lie beside this file."
        )?;
        return writeln!(out, "identity = {{ ca = \"ca.pem\", spiffe = [{}] }}", uris.join(", "));
    }
    let list = |ids: BTreeSet<&Vec<u8>>| {
        let ids: Vec<_> = ids.into_iter().map(|id| quoted(&hex::encode(id))).collect();
        format!("identity = {{ platforms = [{}] }}", ids.join(", "))
    };
    match &under.identity {
        IdentityRule::Platforms(ids) => {
            writeln!(out, "# The machines that the path was verified under.")?;
            writeln!(out, "{}", list(ids.iter().collect()))
        }
        IdentityRule::ConfigIds(ids) => {
            writeln!(out, "# The CONFIGIDs that the path was verified under.")?;
            let ids: Vec<_> = ids.iter().map(|id| quoted(&hex::encode(id))).collect();
            writeln!(out, "identity = {{ configids = [{}] }}", ids.join(", "))
        }
        IdentityRule::AnyGenuine => {
            writeln!(out, "# The same code on anybody's machine passes. To pin the machines, write instead:")?;
            writeln!(out, "# {}", list(hops.iter().flat_map(|hop| &hop.platform_ids).collect()))?;
            writeln!(out, "identity = \"any-genuine\"")
        }
    }
}

fn write_hop(out: &mut String, hop: &RecordedHop, applies: &str, meta: &RecordMeta<'_>) -> std::fmt::Result {
    let simulated = if hop.simulated { ", simulated" } else { "" };
    let position = hop.position;
    writeln!(out, "\n# Hop {position}, {}: {}{simulated}, {}.", quoted(&hop.role), tee_word(hop.tee), hop.tcb_status)?;
    if hop.code == CodeIdentity::None {
        return writeln!(out, "# It has no evidence, so nothing could be recorded: it will be refused.");
    }
    writeln!(out, "[[policy.{}.hop]]", key(meta.policy))?;
    writeln!(out, "{applies}")?;
    if let Some(digest) = hop.config_digest {
        let pinned = match &meta.verified_under.measurements {
            Measurements::NotCompared => false,
            Measurements::Rules(rules) => rules.iter().any(|rule| rule.config_digest.is_some()),
        };
        let off = if pinned { "" } else { "# To pin the hop's configuration, too: " };
        writeln!(out, "{off}config_digest = \"{digest}\"")?;
    }
    write_code(out, &hop.code, &demanded(meta.verified_under))
}

/// The fields that the path was verified by: they stay compared, as they were seen.
fn demanded(under: &Policy) -> BTreeSet<Field> {
    let Measurements::Rules(rules) = &under.measurements else { return BTreeSet::new() };
    rules.iter().flat_map(|rule| &rule.demands).map(|demand| demand.field).collect()
}

/// What was measured, and how it was launched. What the platform's owner changes when it is patched, or what follows
/// from its processor, stands in comments.
fn write_code(out: &mut String, code: &CodeIdentity, demanded: &BTreeSet<Field>) -> std::fmt::Result {
    let fields = Field::ALL.iter().filter_map(|field| Some((*field, field.read(code)?)));
    let mut optional = Vec::new();
    for (field, value) in fields {
        let set = match &value {
            FieldValue::Bytes(bytes) => bytes.iter().any(|byte| *byte != 0),
            FieldValue::Number(number) => *number != 0,
        };
        let line = written(field, &value);
        match kind(field) {
            Kind::Always => writeln!(out, "{line}")?,
            Kind::IfSet if set => writeln!(out, "{line}")?,
            Kind::Optional | Kind::IfSet if demanded.contains(&field) => writeln!(out, "{line}")?,
            Kind::Optional => optional.push(line),
            Kind::IfSet | Kind::Signer => {}
        }
    }
    if let CodeIdentity::Sgx(id) = code {
        writeln!(out, "# To follow the signer's releases, write instead of mrenclave:")?;
        writeln!(out, "# mrsigner = \"{}\"", hex::encode(id.mrsigner))?;
        writeln!(out, "# isvprodid = {}", id.isv_prod_id)?;
        writeln!(out, "# isvsvn_min = {}", id.isv_svn)?;
    }
    if !optional.is_empty() {
        writeln!(out, "# To pin how it was launched, too:")?;
    }
    optional.iter().flat_map(|lines| lines.lines()).try_for_each(|line| writeln!(out, "# {line}"))
}

enum Kind {
    Always,
    /// Where it is zero, nobody set it.
    IfSet,
    Optional,
    Signer,
}

fn kind(field: Field) -> Kind {
    match field {
        Field::Mrsigner | Field::IsvProdId | Field::IsvSvn => Kind::Signer,
        Field::ConfigId | Field::ConfigSvn | Field::IsvFamilyId | Field::IsvExtProdId => Kind::IfSet,
        Field::IdKeyDigest | Field::AuthorKeyDigest | Field::FamilyId | Field::ImageId => Kind::IfSet,
        Field::GuestSvn | Field::Vmpl => Kind::IfSet,
        Field::Attributes | Field::MiscSelect | Field::TdAttributes | Field::Xfam => Kind::Optional,
        Field::MrSeam | Field::MrSignerSeam | Field::GuestPolicy => Kind::Optional,
        _ => Kind::Always,
    }
}

/// The line, or the two lines, that accept exactly this value, or for versions this one and later ones.
fn written(field: Field, value: &FieldValue) -> String {
    match (field, value) {
        (Field::GuestPolicy, FieldValue::Number(bits)) => {
            let words = |set| {
                let words = GUEST_POLICY_BITS.iter().filter(move |(_, bit)| (bits >> bit & 1 == 1) == set);
                words.map(|(word, _)| quoted(word)).collect::<Vec<_>>().join(", ")
            };
            let lines = [("guest_policy_must", words(true)), ("guest_policy_must_not", words(false))];
            let lines = lines.iter().filter(|(_, words)| !words.is_empty());
            lines.map(|(key, words)| format!("{key} = [{words}]")).collect::<Vec<_>>().join("\n")
        }
        (Field::Vmpl, FieldValue::Number(level)) => format!("vmpl_max = {level}"),
        (field, FieldValue::Number(number)) => format!("{field}_min = {number}"),
        (field, FieldValue::Bytes(bytes)) => format!("{field} = \"{}\"", hex::encode(bytes)),
    }
}

/// Roles in a row are one step: `relay{2}`.
fn order(hops: &[RecordedHop]) -> Vec<String> {
    let steps = hops.chunk_by(|a, b| a.role == b.role);
    let shown = steps.map(|same| match same {
        [one] => quoted(&one.role),
        many => quoted(&format!("{}{{{}}}", many[0].role, many.len())),
    });
    shown.collect()
}

/// A key of TOML: bare where it can be.
pub(crate) fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { name.to_owned() } else { quoted(name) }
}

/// A basic string of TOML, on one line: peers chose some of the texts.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            other => quoted.push_str(&format!("\\U{:08X}", u32::from(other))),
        }
    }
    quoted.push('"');
    quoted
}

/// `[recorded]`: shown to people, judged by nobody, but written in a known form.
pub(crate) fn read_recorded(root: &Table<'_>) {
    let Some(table) = root.table("recorded") else { return };
    for key in ["by", "version", "operator", "at", "path", "verified_under", "policy_digest", "key"] {
        table.get(key).and_then(|v| v.text());
    }
    if let Some(files) = table.get("files") {
        files.one_or_many().iter().for_each(|file| {
            file.text();
        });
    }
    table.finish();
}

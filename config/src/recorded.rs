//! Files of reference values: what a verifier saw on a path that it had verified, as a policy.
//!
//! Such a file accepts exactly the code that was seen, at the positions where it was seen. It is a start, not a
//! judgement: whoever recorded it has to know that the path was a good one at that moment.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{CodeIdentity, TcbStatus};
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{Binding, TerminalKind};

use crate::document::Table;
use crate::duration::show_duration;
use crate::hop_rule::tee_word;
use crate::policy::{BINDINGS, TERMINALS};

/// One hop of a verified path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedHop {
    /// 1 is the hop next to the verifier.
    pub position: u8,
    pub role: String,
    pub tee: Tee,
    pub code: CodeIdentity,
    pub simulated: bool,
    pub debug: bool,
    pub tcb_status: TcbStatus,
    /// What names the machine: shown in the file, not compared.
    pub platform_ids: Vec<Vec<u8>>,
}

/// How the path ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordedEnd {
    Terminal(TerminalKind),
    /// An attested peer that does not speak the protocol.
    Legacy,
}

/// Who recorded what, and under which rules it was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordMeta {
    /// The name of the policy in the file.
    pub policy: String,
    /// The tool (`shelter`).
    pub by: String,
    /// Its version.
    pub version: String,
    pub at: Timestamp,
    /// The address of the path's first hop.
    pub path: String,
    pub end: RecordedEnd,
    /// How the path was bound, and the grace that was granted: what is recorded is not laxer than that.
    pub binding: Binding,
    pub grace: Duration,
}

/// The file, as [`crate::load_policy`] reads it.
///
/// A hop without evidence has no reference values: it gets a comment and no rule, and so will be refused. Text that
/// came from peers is quoted, and cannot become TOML.
pub fn render_recorded(hops: &[RecordedHop], meta: &RecordMeta) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_header(&mut out, meta).and_then(|()| write_policy(&mut out, hops, meta));
    out
}

fn write_header(out: &mut String, meta: &RecordMeta) -> std::fmt::Result {
    writeln!(out, "# Reference values of one path, recorded from its evidence. They say what ran there at that")?;
    writeln!(out, "# moment, not that it was good: record only a path that you have reason to trust, and keep this")?;
    writeln!(out, "# file where the hops cannot write.\n")?;
    writeln!(out, "[recorded]")?;
    for (key, value) in
        [("by", &meta.by), ("version", &meta.version), ("at", &meta.at.to_string()), ("path", &meta.path)]
    {
        writeln!(out, "{key} = {}", quoted(value))?;
    }
    writeln!(out)
}

fn write_policy(out: &mut String, hops: &[RecordedHop], meta: &RecordMeta) -> std::fmt::Result {
    let any = |seen: fn(&RecordedHop) -> bool| hops.iter().any(seen);
    writeln!(out, "[policy.{}]", quoted(&meta.policy))?;
    if any(|hop| hop.simulated) {
        writeln!(out, "# A simulated platform was seen: nothing of this is proven by hardware.")?;
        writeln!(out, "allow_simulated = true")?;
    }
    if any(|hop| hop.debug) {
        writeln!(out, "# A debug enclave or TD was seen: its memory is open to its host.")?;
        writeln!(out, "danger_allow_debug = true")?;
    }
    let mut statuses: BTreeSet<_> = hops.iter().map(|hop| hop.tcb_status).collect();
    // A platform that is brought up to date must not fall out of its own reference values; worse states than the ones
    // that were seen were never judged good by anybody.
    statuses.insert(TcbStatus::UpToDate);
    let names: Vec<_> = statuses.iter().map(|status| quoted(status.name())).collect();
    writeln!(out, "# The platform states that were seen, and UpToDate: patching a platform must not lock it out.")?;
    writeln!(out, "tcb = [{}]", names.join(", "))?;
    if !meta.grace.is_zero() {
        writeln!(out, "# The grace for out-of-date platforms that the path was verified under.")?;
        writeln!(out, "grace = {}", quoted(&show_duration(meta.grace)))?;
    }
    writeln!(out, "# The same code on anybody's machine passes. To pin the machines, write instead:")?;
    let machines: BTreeSet<_> = hops.iter().flat_map(|hop| &hop.platform_ids).collect();
    let machines: Vec<_> = machines.iter().map(|id| quoted(&hex::encode(id))).collect();
    writeln!(out, "# identity = {{ platforms = [{}] }}", machines.join(", "))?;
    writeln!(out, "identity = \"any-genuine\"")?;
    writeln!(out, "# The hops in order, from the verifier to the workload.")?;
    writeln!(out, "order = [{}]", order(hops).join(", "))?;
    writeln!(out, "max_hops = {}", hops.len())?;
    match meta.end {
        RecordedEnd::Terminal(kind) => {
            writeln!(out, "# How the last hop reaches the workload.")?;
            writeln!(out, "terminal = [{}]", quoted(word(TERMINALS, kind)))?;
        }
        RecordedEnd::Legacy => {
            writeln!(out, "# The last hop's peer is attested and does not speak this protocol.")?;
            writeln!(out, "allow_legacy_end = true")?;
        }
    }
    writeln!(out, "binding = {}", quoted(word(BINDINGS, meta.binding)))?;
    hops.iter().try_for_each(|hop| write_hop(out, hop, meta))
}

fn write_hop(out: &mut String, hop: &RecordedHop, meta: &RecordMeta) -> std::fmt::Result {
    let simulated = if hop.simulated { ", simulated" } else { "" };
    let position = hop.position;
    writeln!(out, "\n# Hop {position}, {}: {}{simulated}, {}.", quoted(&hop.role), tee_word(hop.tee), hop.tcb_status)?;
    if hop.code == CodeIdentity::None {
        return writeln!(out, "# It has no evidence, so nothing could be recorded: it will be refused.");
    }
    writeln!(out, "[[policy.{}.hop]]", quoted(&meta.policy))?;
    writeln!(out, "position = {position}")?;
    let mut value = |key: &str, bytes: &[u8]| writeln!(out, "{key} = \"{}\"", hex::encode(bytes));
    match &hop.code {
        CodeIdentity::Sgx(id) => {
            value("mrenclave", &id.mrenclave)?;
            writeln!(out, "# To follow the signer's releases, write instead of mrenclave:")?;
            writeln!(out, "# mrsigner = \"{}\"", hex::encode(id.mrsigner))?;
            writeln!(out, "# isvprodid = {}", id.isv_prod_id)?;
            writeln!(out, "# isvsvn_min = {}", id.isv_svn)
        }
        CodeIdentity::Tdx(id) => {
            value("mrtd", &id.mrtd)?;
            for (key, register) in ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].into_iter().zip(&id.rtmr) {
                value(key, register)?;
            }
            value("mrconfigid", &id.mrconfigid)
        }
        CodeIdentity::SevSnp(id) => value("snp_measurement", &id.measurement),
        CodeIdentity::None => Ok(()),
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

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

/// A basic string of TOML, on one line: peers chose some of the texts.
fn quoted(text: &str) -> String {
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
    for key in ["by", "version", "at", "path"] {
        table.get(key).and_then(|v| v.text());
    }
    table.finish();
}

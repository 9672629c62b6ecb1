//! The digest of a compiled policy: SHA-256 over one deterministic CBOR form (RFC 8949 section 4.2.1).
//!
//! Maps have small integers as keys, in ascending order; sets are arrays in the order of their type. The name is left
//! out: the digest says what is demanded, whatever it is called.

use minicbor::Encoder;
use minicbor::encode::Error;

use super::measure::tee_name;
use super::{
    Applies, Binding, Demand, FieldValue, HopRule, IdentityRule, Measurements, Policy, ReferenceValue, TcbPolicy, Test,
};
use crate::PolicyDigest;

impl Policy {
    /// Names what the policy demands: the same for two policies that differ in their names alone.
    pub fn digest(&self) -> PolicyDigest {
        PolicyDigest::of(&self.to_dcbor())
    }

    /// The form that [`Policy::digest`] is the hash of.
    pub fn to_dcbor(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        self.encode(&mut encoder).expect("writing to a vector cannot fail");
        encoder.into_writer()
    }

    fn encode(&self, e: &mut Out) -> Done {
        // Left out where they demand nothing: the digests of policies from before them stay what they were.
        e.map(11 + u64::from(self.refuse_warm_legs) + u64::from(self.named.is_some()))?;
        e.u8(1)?.u8(FORM)?;
        e.u8(2)?.bool(self.allow_simulated)?;
        e.u8(3)?.bool(self.danger_allow_null)?;
        e.u8(4)?.bool(self.danger_allow_debug)?;
        e.u8(5)?;
        tcb(e, &self.tcb)?;
        e.u8(6)?;
        match &self.identity {
            IdentityRule::AnyGenuine => e.null().map(drop)?,
            IdentityRule::Platforms(ids) => array(e, ids, |e, id| e.bytes(id).map(drop))?,
            IdentityRule::ConfigIds(ids) => {
                e.map(1)?.u8(1)?;
                array(e, ids, |e, id| e.bytes(id).map(drop))?;
            }
        }
        e.u8(7)?;
        match &self.measurements {
            Measurements::NotCompared => e.null().map(drop)?,
            Measurements::Rules(rules) => array(e, rules, rule)?,
        }
        e.u8(8)?.map(5)?;
        e.u8(1)?;
        array(e, &self.shape.order, |e, step| e.array(3)?.str(&step.role)?.u8(step.min)?.u8(step.max).map(drop))?;
        e.u8(2)?.u8(self.shape.min_hops)?;
        e.u8(3)?.u8(self.shape.max_hops)?;
        e.u8(4)?;
        array(e, &self.shape.terminals, |e, kind| e.str(kind.name()).map(drop))?;
        e.u8(5)?.bool(self.shape.allow_legacy_end)?;
        e.u8(9)?.u64(self.max_evidence_age.as_secs())?;
        e.u8(10)?.u64(self.max_path_age.as_secs())?;
        e.u8(11)?.u8(match self.binding {
            Binding::Key => 0,
            Binding::KeyAudit => 1,
            Binding::Quote => 2,
        })?;
        if self.refuse_warm_legs {
            e.u8(12)?.bool(true)?;
        }
        if let Some(named) = &self.named {
            e.u8(13)?.array(2)?;
            array(e, &named.authorities, |e, authority| e.bytes(authority).map(drop))?;
            array(e, &named.uris, |e, uri| e.str(uri).map(drop))?;
        }
        Ok(())
    }
}

/// The version of this form.
const FORM: u8 = 1;

type Out = Encoder<Vec<u8>>;
type Done = Result<(), Error<std::convert::Infallible>>;

fn tcb(e: &mut Out, tcb: &TcbPolicy) -> Done {
    // Left out where they demand nothing: the digests of policies from before they were there stay what they were.
    e.map(6 + u64::from(!tcb.snp_min.is_empty()) + u64::from(tcb.allowed_advisories.is_some()))?;
    e.u8(1)?;
    array(e, &tcb.accepted, |e, status| e.str(status.name()).map(drop))?;
    e.u8(2)?.u64(tcb.grace.as_secs())?;
    e.u8(3)?;
    array(e, &tcb.refused_advisories, |e, advisory| e.str(advisory).map(drop))?;
    e.u8(4)?.bool(tcb.allow_smt)?;
    e.u8(5)?.bool(tcb.allow_dynamic_platform)?;
    e.u8(6)?.bool(tcb.allow_cached_keys)?;
    if !tcb.snp_min.is_empty() {
        e.u8(7)?;
        array(e, &tcb.snp_min, |e, (product, min)| {
            e.array(6)?.str(product.name())?;
            match min.fmc {
                Some(fmc) => e.u8(fmc)?,
                None => e.null()?,
            };
            e.u8(min.bootloader)?.u8(min.tee)?.u8(min.snp)?.u8(min.microcode).map(drop)
        })?;
    }
    if let Some(allowed) = &tcb.allowed_advisories {
        e.u8(8)?;
        array(e, allowed, |e, advisory| e.str(advisory).map(drop))?;
    }
    Ok(())
}

fn rule(e: &mut Out, rule: &HopRule) -> Done {
    e.map(4 + u64::from(!rule.demands.is_empty()))?;
    e.u8(1)?;
    match &rule.applies {
        Applies::Any => e.null().map(drop)?,
        Applies::Last => e.bool(true).map(drop)?,
        Applies::Position(position) => e.u8(*position).map(drop)?,
        Applies::Role(role) => e.str(role).map(drop)?,
    }
    e.u8(2)?;
    array(e, &rule.tees, |e, tee| e.str(tee_name(*tee)).map(drop))?;
    e.u8(3)?;
    array(e, &rule.reference_values, reference_value)?;
    e.u8(4)?;
    optional(e, rule.config_digest.as_ref().map(|digest| &digest.as_bytes()[..]))?;
    if !rule.demands.is_empty() {
        e.u8(5)?;
        array(e, &rule.demands, demand)?;
    }
    Ok(())
}

/// [name of the field, kind of test, its one or two operands].
fn demand(e: &mut Out, demand: &Demand) -> Done {
    let operands = match &demand.test {
        Test::OneOf(_) | Test::AtLeast(_) | Test::AtMost(_) => 1,
        Test::Masked { .. } | Test::Bits { .. } => 2,
    };
    e.array(2 + operands)?.str(demand.field.name())?;
    match &demand.test {
        Test::OneOf(values) => {
            e.u8(0)?;
            array(e, values, |e, value| match value {
                FieldValue::Bytes(bytes) => e.bytes(bytes).map(drop),
                FieldValue::Number(number) => e.u64(*number).map(drop),
            })
        }
        Test::Masked { value, mask } => e.u8(1)?.bytes(value)?.bytes(mask).map(drop),
        Test::AtLeast(least) => e.u8(2)?.u64(*least).map(drop),
        Test::AtMost(most) => e.u8(3)?.u64(*most).map(drop),
        Test::Bits { set, clear } => e.u8(4)?.u64(*set)?.u64(*clear).map(drop),
    }
}

fn reference_value(e: &mut Out, value: &ReferenceValue) -> Done {
    match value {
        ReferenceValue::SgxEnclave { mrenclave } => e.array(2)?.u8(0)?.bytes(mrenclave).map(drop),
        ReferenceValue::SgxSigner { mrsigner, isv_prod_id, isv_svn_min } => {
            e.array(4)?.u8(1)?.bytes(mrsigner)?.u16(*isv_prod_id)?.u16(*isv_svn_min).map(drop)
        }
        ReferenceValue::Tdx { mrtd, rtmr, mrconfigid } => {
            e.array(4)?.u8(2)?.bytes(mrtd)?;
            array(e, rtmr, |e, rtmr| optional(e, rtmr.as_ref().map(|rtmr| &rtmr[..])))?;
            optional(e, mrconfigid.as_ref().map(|id| &id[..]))
        }
        ReferenceValue::SevSnp { measurement } => e.array(2)?.u8(3)?.bytes(measurement).map(drop),
    }
}

fn optional(e: &mut Out, bytes: Option<&[u8]>) -> Done {
    match bytes {
        Some(bytes) => e.bytes(bytes).map(drop),
        None => e.null().map(drop),
    }
}

fn array<I>(e: &mut Out, items: I, mut item: impl FnMut(&mut Out, I::Item) -> Done) -> Done
where
    I: IntoIterator,
    I::IntoIter: ExactSizeIterator,
{
    let items = items.into_iter();
    e.array(items.len() as u64)?;
    for value in items {
        item(e, value)?;
    }
    Ok(())
}

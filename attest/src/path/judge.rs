//! Appraisal of one hop of a path: its evidence, what policy says of it, and its fresh quote.

use std::sync::Arc;
use std::time::Duration;

use super::error::same;
use super::judged::{Judged, Renewed};
use super::leg::{Side, binder, leaf};
use super::record::{AttestedPeer, FreshQuote};
use super::{
    Check, Downstream, Expects, Kind, LegacyPeer, Path, PathError, PathHop, PathInput, Record, Stage, Trailer,
};
use crate::appraise::{AppraisalError, Appraise, Appraised};
use crate::evidence::{Endorsements, Evidence, FreshClaims, FreshEvidence};
use crate::policy::{Binding, CLOCK_SKEW, HopPlace, PathEnd, Policy, Verdict};
use crate::{EvidenceDigest, KeyId, Reason, Timestamp};

/// A certificate may end this long after now at most, and [`CLOCK_SKEW`] more for the clocks.
pub const MAX_CERTIFICATE_LIFE: Duration = Duration::from_secs(60 * 60);

/// The role under which policy judges a peer that states none: the end of a path that does not speak this protocol.
pub const LEGACY_ROLE: &str = "legacy";

pub(super) struct Judge<'a> {
    pub(super) policy: &'a Policy,
    pub(super) appraiser: &'a dyn Appraise,
    pub(super) input: &'a PathInput<'a>,
    pub(super) trailer: &'a Trailer,
}

impl Judge<'_> {
    /// A hop of a preview: everything is judged.
    pub(super) fn hop(&self, position: u8, last: bool, record: &Record) -> Result<Judged, PathError> {
        let hop = Some(position);
        let evidence = self.evidence(position, &record.own.evidence)?;
        let key = KeyId::of(&record.own.spki);
        same(hop, Check::EvidenceKey, key, evidence.claims().key())?;
        let Some(claims) = evidence.claims().hop() else {
            return Err(PathError::new(hop, Check::HopClaims, "the claim of an inclavared hop", "none"));
        };
        same(hop, Check::Role, claims.chain_role.as_str(), record.role.as_str())?;
        let not_after = claims.not_after;
        self.not_after(position, Check::NotAfter, not_after)?;
        let sent = self.trailer.endorsements(record).map(|blob| &blob[..]);
        let (appraised, verdict) = self.appraise(position, last, &record.role, &evidence, sent)?;
        self.binding_below(position, record)?;
        self.warm_below(position, record)?;
        let fresh = self.fresh(position, last, record, &evidence, &appraised)?;
        let fresh_at = fresh.is_some().then_some(self.input.now);
        let Renewed { appraised, verdict, not_after } = fresh.unwrap_or(Renewed { appraised, verdict, not_after });
        Ok(Judged { evidence: Arc::new(evidence), appraised, verdict, not_after, fresh_at })
    }

    /// A hop of a later trailer: its evidence was judged with the preview; a fresh quote is judged now.
    pub(super) fn renewal(&self, position: u8, record: &Record, hop: &PathHop) -> Result<Option<Renewed>, PathError> {
        let last = matches!(hop.downstream, Downstream::Terminal(_));
        self.fresh(position, last, record, &hop.evidence, &hop.appraised)
    }

    /// The attested peer at the end that has no record of its own.
    pub(super) fn legacy(&self, position: u8, peer: &AttestedPeer) -> Result<LegacyPeer, PathError> {
        let evidence = self.evidence(position, &peer.evidence)?;
        same(Some(position), Check::EvidenceKey, peer.key, evidence.claims().key())?;
        let role = evidence.claims().hop().map_or(LEGACY_ROLE, |claims| &claims.chain_role).to_owned();
        if let Some(claims) = evidence.claims().hop() {
            self.not_after(position, Check::NotAfter, claims.not_after)?;
        }
        let (appraised, verdict) = self.appraise(position, true, &role, &evidence, None)?;
        Ok(LegacyPeer { kid: peer.key, leg: peer.leg, evidence: Arc::new(evidence), appraised, verdict })
    }

    /// Sums up the hops of an accepted preview.
    pub(super) fn conclude(&self, hops: Vec<PathHop>, end: PathEnd, legacy: Option<LegacyPeer>) -> Path {
        let now = self.input.now;
        let mut path = Path {
            session: self.input.nonce.session(),
            hops,
            end,
            legacy,
            worst: crate::appraise::TcbStatus::UpToDate,
            compared: true,
            simulated: false,
            accepted_at: now,
            expires: now,
            ages_at: now,
            warm: None,
            close: None,
        };
        path.sum_up(self.policy.max_path_age);
        path
    }

    /// Of a key: of a hop, or of the peer at the end.
    fn evidence(&self, position: u8, name: &EvidenceDigest) -> Result<Evidence, PathError> {
        let read = match self.appraiser.recall(name, self.input.now) {
            Some((known, _)) => known.into_evidence(),
            None => Evidence::decode(self.blob(name)?),
        };
        read.map_err(|error| PathError::of_evidence(position, Check::EvidenceForm, &error))
    }

    /// `Trailer::decode` lets no evidence be missing that a record names.
    fn blob(&self, name: &EvidenceDigest) -> Result<&Arc<[u8]>, PathError> {
        self.trailer.blob(name).ok_or_else(|| PathError::new(None, Check::BlobMissing, name, "none"))
    }

    fn not_after(&self, position: u8, check: Check, not_after: Timestamp) -> Result<(), PathError> {
        let (now, latest) = (self.input.now, self.input.now.plus(MAX_CERTIFICATE_LIFE + CLOCK_SKEW));
        if not_after < now || not_after > latest {
            let expected = format_args!("{now} to {latest}").to_string();
            return Err(PathError::new(Some(position), check, expected, not_after));
        }
        Ok(())
    }

    fn appraise(
        &self,
        position: u8,
        last: bool,
        role: &str,
        evidence: &Evidence,
        sent: Option<&[u8]>,
    ) -> Result<(Arc<Appraised>, Verdict), PathError> {
        let now = self.input.now;
        let appraised = self
            .appraise_with(evidence, sent)
            .map_err(|error| PathError::of_appraisal(position, Check::Appraisal, error))?;
        let place = HopPlace { position, last, role };
        let verdict = self
            .policy
            .admit(&place, &appraised, evidence.claims(), now)
            .map_err(|error| PathError::of_policy(Some(position), Check::Policy, error))?;
        Ok((appraised, verdict))
    }

    /// With what is at hand; where certificates are missing or have ended, with those that the hop sent along as well.
    fn appraise_with(&self, evidence: &Evidence, sent: Option<&[u8]>) -> Result<Arc<Appraised>, AppraisalError> {
        let now = self.input.now;
        let refused = match self.appraiser.appraise(evidence, now) {
            Err(error) if matches!(error.reason, Reason::Collateral | Reason::Expired) => error,
            done => return done,
        };
        // What cannot be read helps nobody: it is refused as it would have been without.
        let Some(sent) = sent.and_then(|sent| Endorsements::decode(sent).ok()) else { return Err(refused) };
        if sent.tag() != evidence.tag() {
            return Err(refused);
        }
        self.appraiser.learn_endorsements(evidence, &sent, now)?;
        self.appraiser.appraise(evidence, now)
    }

    /// A hop may not have asked less of the path below than the verifier's policy does.
    fn binding_below(&self, position: u8, record: &Record) -> Result<(), PathError> {
        match &record.downstream {
            Downstream::Attested { binding, .. } if *binding < self.policy.binding => {
                let (expected, found) = (binding_name(self.policy.binding), binding_name(*binding));
                Err(PathError::new(Some(position), Check::BindingLevel, expected, found))
            }
            _ => Ok(()),
        }
    }

    /// A hop may not have taken a leg that stood ready where the policy wants every leg made for the path.
    fn warm_below(&self, position: u8, record: &Record) -> Result<(), PathError> {
        match record.downstream {
            Downstream::Attested { warm_ms: Some(warm_ms), .. } if self.policy.refuse_warm_legs => {
                let found = format_args!("one that had stood ready for {warm_ms} ms").to_string();
                Err(PathError::new(Some(position), Check::WarmLeg, "a leg made for this path", found))
            }
            _ => Ok(()),
        }
    }

    /// A fresh quote over this record's leg: demanded by the policy's binding level, verified wherever it is.
    fn fresh(
        &self,
        position: u8,
        last: bool,
        record: &Record,
        evidence: &Evidence,
        appraised: &Appraised,
    ) -> Result<Option<Renewed>, PathError> {
        let hop = Some(position);
        let Some(fresh) = &record.own.fresh else {
            if self.demands_fresh() {
                let expected = format_args!("a fresh quote ({})", binding_name(self.policy.binding)).to_string();
                return Err(PathError::new(hop, Check::BindingLevel, expected, "none"));
            }
            return Ok(None);
        };
        let read = match self.appraiser.recall(&fresh.evidence, self.input.now) {
            Some((known, _)) => known.into_fresh(),
            None => FreshEvidence::decode(self.blob(&fresh.evidence)?),
        };
        let quoted = read.map_err(|error| PathError::of_evidence(position, Check::FreshForm, &error))?;
        let FreshClaims { config_digest, not_after, root, iat_ms } = *quoted.claims();
        self.asked_for(position, iat_ms)?;
        self.not_after(position, Check::FreshEnd, not_after)?;
        same(hop, Check::FreshRoot, merkle_root(record, fresh), root)?;
        let certified = evidence.claims().hop().map(|claims| claims.config_digest);
        if certified != Some(config_digest) {
            let expected = certified.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
            return Err(PathError::new(hop, Check::FreshConfig, expected, config_digest));
        }
        let now = self.input.now;
        let renewed = self
            .appraiser
            .appraise(&quoted, now)
            .map_err(|error| PathError::of_appraisal(position, Check::FreshAppraisal, error))?;
        same_identity(position, appraised, &renewed)?;
        // It names no key, no role and no end but its own: what the certificate's evidence says of them stands.
        let place = HopPlace { position, last, role: &record.role };
        let verdict = self
            .policy
            .admit_again(&place, &renewed, evidence.claims(), now)
            .and_then(|verdict| self.policy.admit_end(not_after, now).map(|()| verdict))
            .map_err(|error| PathError::of_policy(hop, Check::Policy, error))?;
        Ok(Some(Renewed { appraised: renewed, verdict, not_after }))
    }

    /// Its leaf dates a fresh quote by the verifier's own nonce or challenge; its own clock has to be near all the same.
    fn asked_for(&self, position: u8, iat_ms: u64) -> Result<(), PathError> {
        let now = self.input.now;
        let earliest = Timestamp(now.0.saturating_sub((MAX_CERTIFICATE_LIFE + CLOCK_SKEW).as_secs()));
        let latest = now.plus(CLOCK_SKEW);
        let found = Timestamp(iat_ms / 1000);
        if found < earliest || found > latest {
            let expected = format_args!("{earliest} to {latest}").to_string();
            return Err(PathError::new(Some(position), Check::FreshTime, expected, found));
        }
        Ok(())
    }

    fn demands_fresh(&self) -> bool {
        match self.input.expects {
            Expects::Preview | Expects::Forward => self.policy.binding == Binding::Quote,
            Expects::Refresh { .. } => self.policy.binding >= Binding::KeyAudit,
            Expects::Final { .. } => false,
        }
    }
}

/// What the root in a fresh quote has to be.
fn merkle_root(record: &Record, fresh: &FreshQuote) -> crate::Digest {
    let challenge = match &record.stage {
        Stage::Refresh { challenge, .. } => challenge.as_ref(),
        _ => None,
    };
    let side = if record.kind() == Kind::Forward { Side::Client } else { Side::Server };
    let binder = binder(side, record.upstream.leg, record.upstream.open, KeyId::of(&record.own.spki));
    fresh.path.root(&leaf(binder, record.kind(), record.seq, challenge))
}

/// A fresh quote speaks of the same code on the same machine, under the same root.
fn same_identity(position: u8, certified: &Appraised, fresh: &Appraised) -> Result<(), PathError> {
    let differs = |what| {
        let expected = format_args!("the {what} of the certificate's evidence").to_string();
        Err(PathError::new(Some(position), Check::FreshIdentity, expected, "another"))
    };
    if (certified.tee, certified.root) != (fresh.tee, fresh.root) {
        return differs("TEE");
    }
    if certified.code != fresh.code || certified.debug != fresh.debug {
        return differs("code");
    }
    if certified.platform.ids != fresh.platform.ids {
        return differs("platform");
    }
    Ok(())
}

pub(super) const fn binding_name(binding: Binding) -> &'static str {
    match binding {
        Binding::Key => "key",
        Binding::KeyAudit => "key+audit",
        Binding::Quote => "quote",
    }
}

//! Admission of one hop: every check of a policy against what appraisal found. Whatever is not allowed is refused.

use std::time::Duration;

use super::verdict::Findings;
use super::{Comparison, HopPlace, IdentityRule, Measurements, Policy, PolicyError, Verdict};
use crate::appraise::{Appraised, CodeIdentity, Root, TcbStatus};
use crate::evidence::{Claims, HopClaims};
use crate::{Reason, Timestamp};

/// How far the clocks of two machines may be apart.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

impl Policy {
    /// Judges one hop. `claims` are those of the evidence that `appraised` was made from; the caller has checked that
    /// they speak of the key that holds the session.
    ///
    /// Evidence without claims of ours (a peer that speaks the interoperable format alone) states neither a role nor
    /// an end: its certificate's window bounds it, and a rule that pins a configuration refuses it.
    pub fn admit(
        &self,
        place: &HopPlace<'_>,
        appraised: &Appraised,
        claims: &Claims,
        now: Timestamp,
    ) -> Result<Verdict, PolicyError> {
        let verdict = self.admit_hop(place, appraised, claims.hop(), now)?;
        self.check_name(claims, now)?;
        Ok(verdict)
    }

    /// Judges a hop of a path that was started, when its evidence was appraised again. All but the end of the evidence,
    /// and of its name, which hold for START alone: a path lives on when its certificates end, until the policy's path age.
    pub fn admit_again(
        &self,
        place: &HopPlace<'_>,
        appraised: &Appraised,
        claims: &Claims,
        now: Timestamp,
    ) -> Result<Verdict, PolicyError> {
        self.check_role(place, claims.hop())?;
        self.admit_appraised(place, appraised, claims.hop(), now)
    }

    pub(crate) fn admit_hop(
        &self,
        place: &HopPlace<'_>,
        appraised: &Appraised,
        hop: Option<&HopClaims>,
        now: Timestamp,
    ) -> Result<Verdict, PolicyError> {
        self.check_role(place, hop)?;
        self.check_end(hop, now)?;
        self.admit_appraised(place, appraised, hop, now)
    }

    fn admit_appraised(
        &self,
        place: &HopPlace<'_>,
        appraised: &Appraised,
        hop: Option<&HopClaims>,
        now: Timestamp,
    ) -> Result<Verdict, PolicyError> {
        let mut findings = Findings::default();
        self.check_root(appraised)?;
        if appraised.root == Root::None {
            findings.notes.push("no evidence: the null verifier lets it pass".into());
            return Ok(self.verdict(appraised, findings));
        }
        self.check_appraisal_end(appraised, now)?;
        self.check_debug(appraised, &mut findings)?;
        self.check_tcb(appraised, now, &mut findings)?;
        self.check_snp(appraised, &mut findings)?;
        self.check_advisories(appraised, &mut findings)?;
        self.check_flags(appraised)?;
        self.check_identity(appraised, &mut findings)?;
        if let Measurements::Rules(rules) = &self.measurements {
            let matched = self.check_measurements(rules, place, appraised, hop)?;
            findings.compared = true;
            findings.config_pinned |= matched.rule.config_digest.is_some();
            findings.comparisons.extend(matched.comparisons);
        }
        Ok(self.verdict(appraised, findings))
    }

    /// The role that a record or a certificate shows is the one that the evidence covers.
    fn check_role(&self, place: &HopPlace<'_>, hop: Option<&HopClaims>) -> Result<(), PolicyError> {
        match hop {
            Some(hop) if hop.chain_role != place.role => {
                Err(self.refuse(Reason::Role, "role", format!("`{}`, as attested", hop.chain_role), quoted(place.role)))
            }
            _ => Ok(()),
        }
    }

    /// Evidence speaks for a bounded time: not beyond its end, and not of an end that lies too far ahead.
    fn check_end(&self, hop: Option<&HopClaims>, now: Timestamp) -> Result<(), PolicyError> {
        hop.map_or(Ok(()), |hop| self.admit_end(hop.not_after, now))
    }

    /// [`admit_again`](Self::admit_again) leaves the end out: that of a fresh quote is judged by this.
    pub(crate) fn admit_end(&self, not_after: Timestamp, now: Timestamp) -> Result<(), PolicyError> {
        let latest = now.plus(self.max_evidence_age).plus(CLOCK_SKEW);
        let expected = match not_after {
            end if end < now => format!("{now} or later"),
            end if end > latest => format!("{latest} or earlier"),
            _ => return Ok(()),
        };
        Err(self.refuse(Reason::Expired, "the end of the evidence", expected, not_after.to_string()))
    }

    fn check_root(&self, appraised: &Appraised) -> Result<(), PolicyError> {
        match appraised.root {
            Root::None if !self.danger_allow_null => {
                Err(self.refuse(Reason::Null, "evidence", "evidence of a TEE", "none (the null attester)"))
            }
            Root::Simulated if !self.allow_simulated => {
                Err(self.refuse(Reason::Simulated, "evidence", "a genuine TEE", "simulated evidence"))
            }
            Root::Intel | Root::Amd | Root::Simulated | Root::None => Ok(()),
        }
    }

    /// An appraisal may come from a cache: it ends when the first of the things ends that it rests on.
    fn check_appraisal_end(&self, appraised: &Appraised, now: Timestamp) -> Result<(), PolicyError> {
        if now < appraised.expires {
            return Ok(());
        }
        Err(self.refuse(
            Reason::Expired,
            "collateral and certificates behind the appraisal",
            format!("valid at {now}"),
            format!("valid until {}", appraised.expires),
        ))
    }

    fn check_debug(&self, appraised: &Appraised, findings: &mut Findings) -> Result<(), PolicyError> {
        if !appraised.debug {
            return Ok(());
        }
        if !self.danger_allow_debug {
            return Err(self.refuse(
                Reason::Debug,
                "debug",
                "a production TEE",
                "a debug TEE: its host reads its memory",
            ));
        }
        findings.notes.push("debug TEE: its host reads its memory".into());
        Ok(())
    }

    fn check_tcb(&self, appraised: &Appraised, now: Timestamp, findings: &mut Findings) -> Result<(), PolicyError> {
        let tcb = &self.tcb;
        let status = appraised.tcb_status;
        // A revoked platform's keys are known to its enemies: no policy accepts it.
        if status != TcbStatus::Revoked && tcb.accepted.contains(&status) {
            if status != TcbStatus::UpToDate {
                findings.notes.push(format!("TCB status {status}"));
            }
            return Ok(());
        }
        // Grace covers being out of date and nothing else: what else is wrong must be acceptable by itself.
        let apart_from_age = match status {
            TcbStatus::OutOfDate => Some(TcbStatus::UpToDate),
            TcbStatus::OutOfDateConfigurationNeeded => Some(TcbStatus::ConfigurationNeeded),
            _ => None,
        };
        let end = appraised.tcb_date.plus(tcb.grace);
        if apart_from_age.is_some_and(|rest| tcb.accepted.contains(&rest)) && !tcb.grace.is_zero() && now < end {
            findings.notes.push(format!("TCB status {status}, in its grace until {end}"));
            return Ok(());
        }
        let accepted: Vec<_> = tcb.accepted.iter().map(|status| status.name()).collect();
        let mut expected = format!("one of {}", accepted.join(", "));
        if !tcb.grace.is_zero() {
            expected.push_str(&format!(", or out of date for less than {} days", tcb.grace.as_secs() / 86_400));
        }
        let mut found = format!("{status} (TCB of {})", appraised.tcb_date);
        if !appraised.advisories.is_empty() {
            found.push_str(&format!(", {}", appraised.advisories.join(", ")));
        }
        Err(self.refuse(Reason::TcbStatus, "TCB status", expected, found))
    }

    /// What Intel's TCB info says of Intel's platforms, the policy has to say of AMD's.
    fn check_snp(&self, appraised: &Appraised, findings: &mut Findings) -> Result<(), PolicyError> {
        let Some(platform) = &appraised.platform.snp else { return Ok(()) };
        if self.tcb.snp_min.is_empty() {
            findings.notes.push(format!("{} TCB {}: compared with no minimum", platform.product, platform.tcb));
        } else {
            let found = format!("{} {}", platform.product, platform.tcb);
            let Some(min) = self.tcb.snp_min.get(&platform.product) else {
                let products: Vec<_> = self.tcb.snp_min.keys().map(|product| product.name()).collect();
                return Err(self.refuse(Reason::TcbStatus, "SEV-SNP product", products.join(" or "), found));
            };
            if !platform.tcb.at_least(min) {
                return Err(self.refuse(Reason::TcbStatus, "SEV-SNP TCB", format!("{min} or higher"), found));
            }
        }
        if !appraised.revocation_checked {
            findings.notes.push("revocation was not checked: no CRL of AMD's at hand".into());
        }
        if let CodeIdentity::SevSnp(identity) = &appraised.code
            && identity.vmpl != 0
        {
            findings.notes.push(format!("attested by code at VMPL {}, below the one that was measured", identity.vmpl));
        }
        Ok(())
    }

    fn check_advisories(&self, appraised: &Appraised, findings: &mut Findings) -> Result<(), PolicyError> {
        let refused = |advisory: &&String| {
            self.tcb.refused_advisories.iter().any(|refused| refused.eq_ignore_ascii_case(advisory))
        };
        if let Some(advisory) = appraised.advisories.iter().find(refused) {
            return Err(self.refuse(
                Reason::Advisory,
                "advisories",
                format!("none like {advisory}"),
                advisory.as_str(),
            ));
        }
        let allowed = |advisory: &&String| match &self.tcb.allowed_advisories {
            Some(allowed) => allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(advisory)),
            None => true,
        };
        if let Some(advisory) = appraised.advisories.iter().find(|advisory| !allowed(advisory)) {
            let known: Vec<_> = self.tcb.allowed_advisories.iter().flatten().map(String::as_str).collect();
            let expected = if known.is_empty() { "none".into() } else { format!("none but {}", known.join(", ")) };
            return Err(self.refuse(Reason::Advisory, "advisories", expected, advisory.as_str()));
        }
        if !appraised.advisories.is_empty() {
            findings.notes.push(format!("advisories {}", appraised.advisories.join(", ")));
        }
        Ok(())
    }

    fn check_flags(&self, appraised: &Appraised) -> Result<(), PolicyError> {
        let platform = &appraised.platform;
        let flags = [
            ("SMT (hyperthreading)", platform.smt, self.tcb.allow_smt),
            ("dynamic platform", platform.dynamic, self.tcb.allow_dynamic_platform),
            ("cached keys", platform.cached_keys, self.tcb.allow_cached_keys),
        ];
        match flags.into_iter().find(|(_, set, allowed)| *set == Some(true) && !allowed) {
            Some((what, ..)) => Err(self.refuse(Reason::TcbStatus, what, "off", "on, by the platform's own word")),
            None => Ok(()),
        }
    }

    fn check_identity(&self, appraised: &Appraised, findings: &mut Findings) -> Result<(), PolicyError> {
        let (what, known, found): (_, Vec<&[u8]>, Vec<&[u8]>) = match (&self.identity, &appraised.code) {
            (IdentityRule::AnyGenuine, _) => return Ok(()),
            (IdentityRule::Platforms(known), _) => (
                "platform",
                known.iter().map(|id| &id[..]).collect(),
                appraised.platform.ids.iter().map(|id| &id[..]).collect(),
            ),
            (IdentityRule::ConfigIds(known), CodeIdentity::Sgx(sgx)) => {
                ("configid", known.iter().map(|id| &id[..]).collect(), vec![&sgx.config_id])
            }
            (IdentityRule::ConfigIds(known), _) => ("configid", known.iter().map(|id| &id[..]).collect(), vec![]),
        };
        let list = |ids: &[&[u8]]| match ids {
            [] => "none".into(),
            ids => ids.iter().map(hex::encode).collect::<Vec<_>>().join(", "),
        };
        let expected = format!("one of {}", list(&known));
        match found.iter().find(|id| known.contains(*id)) {
            Some(id) => {
                findings.config_pinned |= matches!(self.identity, IdentityRule::ConfigIds(_));
                findings.comparisons.push(Comparison { field: what, expected, found: hex::encode(id) });
                Ok(())
            }
            None => Err(self.refuse(Reason::Identity, what, expected, list(&found))),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}

//! AMD SEV-SNP: from a report and the certificates above it to what is known of the guest.
//!
//! All of it is done here: the report's signature, the chain to AMD's pinned roots, revocation, what the certificate
//! says of chip and firmware against what the report says. Formats: AMD "SEV Secure Nested Paging Firmware ABI"
//! (56860) table 23; "VCEK Certificate and KDS Interface" (57230) and "VLEK Certificate" (58369).
//!
//! **Status.** AMD publishes no list of firmware that is up to date, and no dates: nothing like Intel's TCB info
//! exists. So the status says only whether the host holds something back: `UpToDate` if the firmware that the
//! certificate vouches for (reported) is the one that the machine cannot go back from (committed), and that is the
//! one that runs (current); otherwise `ConfigurationNeeded`. Clouds do run firmware that they have not committed.
//! How old firmware may be is for the policy to say: [`crate::policy::TcbPolicy::snp_min`].

mod book;
mod certificate;
mod chain;
mod report;
mod request;
mod roots;
mod set;
mod tcb;
#[cfg(test)]
pub(crate) mod testing;

pub use book::AmdBook;
pub use report::{SigningKey, SnpReport};
pub use request::SnpRequest;
pub use roots::{AmdRoot, amd_roots};
pub use set::{AmdKeyId, AmdSet, AmdSetId, AmdSetWindow};
pub use tcb::{SnpProduct, SnpTcb};

pub(crate) use certificate::Vek;
pub(crate) use chain::Crl;

use super::{AppraisalError, Appraised, CodeIdentity, Platform, SnpIdentity, SnpPlatform, TcbStatus};
use crate::evidence::SnpEndorsements;
use crate::tee::Tee;
use crate::{CollateralDigest, Digest, Reason, Timestamp};

/// Verifies a report with its certificates up to one of `roots`, and with a CRL of that root where there is one.
pub(crate) fn appraise(
    bytes: &[u8],
    endorsements: &SnpEndorsements,
    roots: &[AmdRoot],
    crl: impl FnOnce(SnpProduct) -> Option<Crl>,
    now: Timestamp,
) -> Result<Appraised, AppraisalError> {
    let report = SnpReport::parse(bytes)?;
    report.check_origin()?;
    let vek = chain::verify(endorsements, roots, now)?;
    let crl = crl(vek.product);
    let mut expires = vek.expires;
    if let Some(crl) = &crl {
        expires = expires.min(crl.clears(&vek, roots, now)?);
    }
    vek.vouches_for(&report)?;
    report.check_signature(&vek.point)?;
    report.check_guest()?;
    let tcb = Tcbs::read(&report, vek.product)?;
    Ok(Appraised {
        tee: Tee::SevSnp,
        root: vek.root,
        code: CodeIdentity::SevSnp(Box::new(identity(&report))),
        debug: report.debug(),
        tcb_status: tcb.status(),
        // Not known: see above.
        tcb_date: Timestamp(0),
        advisories: Vec::new(),
        platform: Platform {
            ids: if report.chip_is_masked() { Vec::new() } else { vec![report.chip_id.to_vec()] },
            smt: Some(report.platform_info & SMT_ENABLED != 0),
            dynamic: None,
            cached_keys: None,
            snp: Some(SnpPlatform { product: vek.product, tcb: tcb.lowest() }),
        },
        collateral: digest(endorsements, crl.as_ref()),
        revocation_checked: crl.is_some(),
        appraised_at: now,
        expires,
    })
}

fn identity(report: &SnpReport) -> SnpIdentity {
    SnpIdentity {
        measurement: report.measurement,
        host_data: report.host_data,
        id_key_digest: report.id_key_digest,
        author_key_digest: report.author_key_digest,
        family_id: report.family_id,
        image_id: report.image_id,
        guest_svn: report.guest_svn,
        guest_policy: report.policy,
        vmpl: report.vmpl,
    }
}

/// The four TCBs of a report.
struct Tcbs {
    reported: SnpTcb,
    committed: SnpTcb,
    current: SnpTcb,
    launch: SnpTcb,
}

impl Tcbs {
    /// The firmware keeps `reported <= committed <= current`; a report that says otherwise is not believed.
    fn read(report: &SnpReport, product: SnpProduct) -> Result<Self, AppraisalError> {
        let read = |raw| SnpTcb::read(product, raw);
        let tcbs = Self {
            reported: read(report.reported_tcb),
            committed: read(report.committed_tcb),
            current: read(report.current_tcb),
            launch: read(report.launch_tcb),
        };
        for (what, low, high) in
            [("reported TCB", tcbs.reported, tcbs.committed), ("committed TCB", tcbs.committed, tcbs.current)]
        {
            if !high.at_least(&low) {
                return Err(AppraisalError::new(Reason::TcbStatus, what, format!("{high} or lower"), low.to_string()));
            }
        }
        Ok(tcbs)
    }

    fn status(&self) -> TcbStatus {
        if self.reported == self.committed && self.committed == self.current {
            TcbStatus::UpToDate
        } else {
            TcbStatus::ConfigurationNeeded
        }
    }

    /// What the guest can count on: firmware may go back to the committed one, only the reported one is certified, and
    /// the guest has run under the one of its launch.
    fn lowest(&self) -> SnpTcb {
        self.reported.lowest(&self.committed).lowest(&self.launch)
    }
}

/// Over every part with its own hash, so that no two sets share a digest.
fn digest(endorsements: &SnpEndorsements, crl: Option<&Crl>) -> CollateralDigest {
    let crl = crl.map_or(&[][..], |crl| crl.der());
    let parts = [&endorsements.vcek[..], &endorsements.ask, crl].map(Digest::of);
    CollateralDigest(Digest::of_parts(&parts.each_ref().map(|hash| &hash.as_bytes()[..])))
}

/// PLATFORM_INFO bit 0.
const SMT_ENABLED: u64 = 1;

#[cfg(test)]
mod tests;

//! How new every part of a set is. A service that hands out an older part than one that is known hides a TCB recovery
//! or a revocation, and its signature is still good: nothing but memory shows it.

use std::fmt;

use super::Part;
use inclavared_attest::Timestamp;
use inclavared_attest::appraise::Collateral;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

/// Number and date of TCB info, QE identity, PCK CRL and root CA CRL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Freshness([Age; 4]);

impl Freshness {
    /// A part that says nothing is as old as can be: it is refused wherever anything is known.
    pub(super) fn of(collateral: &Collateral) -> Self {
        let set = collateral.as_set();
        Self([document(&set.tcb_info), document(&set.qe_identity), crl(&set.pck_crl), crl(&set.root_ca_crl)])
    }

    /// How new one part is.
    pub(super) fn age(&self, part: Part) -> Age {
        let [tcb_info, qe_identity, pck_crl, root_crl] = self.0;
        match part {
            Part::TcbInfo { .. } => tcb_info,
            Part::QeIdentity(_) => qe_identity,
            Part::PckCrl(_) => pck_crl,
            Part::RootCaCrl => root_crl,
        }
    }

    /// The first part that is older than the same part of `known`, in words.
    pub(super) fn older_than(&self, known: &Self) -> Option<String> {
        let parts = self.0.iter().zip(&known.0).zip(PARTS);
        parts
            .into_iter()
            .find(|((own, known), _)| own < known)
            .map(|((own, known), part)| format!("the {part} is {own}, where {known} is known"))
    }

    /// The newest of each part.
    pub(super) fn max(self, other: Self) -> Self {
        let mut parts = self.0;
        for (part, other) in parts.iter_mut().zip(other.0) {
            *part = other.max(*part);
        }
        Self(parts)
    }
}

const PARTS: [&str; 4] = ["TCB info", "QE identity", "PCK CRL", "root CA CRL"];

/// `Ord` goes from old to new. CRLs have a number as well, but Intel's counts in 160-bit integers from 1 and is 1 still.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Age {
    number: u32,
    issued: Timestamp,
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "number {} of {}", self.number, self.issued)
    }
}

const UNKNOWN: Age = Age { number: 0, issued: Timestamp(0) };

fn document(text: &str) -> Age {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Header {
        issue_date: String,
        tcb_evaluation_data_number: u32,
    }
    let Ok(header) = serde_json::from_str::<Header>(text) else { return UNKNOWN };
    match header.issue_date.parse() {
        Ok(issued) => Age { number: header.tcb_evaluation_data_number, issued },
        Err(_) => UNKNOWN,
    }
}

fn crl(der: &[u8]) -> Age {
    match CertificateRevocationList::from_der(der) {
        Ok((_, crl)) => {
            let issued = u64::try_from(crl.last_update().timestamp()).unwrap_or(0);
            Age { number: 0, issued: Timestamp(issued) }
        }
        Err(_) => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inclavared_attest::evidence::Tee;
    use inclavared_attest::sim::{CollateralSpec, SimPlatform};

    #[test]
    fn every_part_counts() {
        let now = Timestamp(1_800_000_000);
        let platform = SimPlatform::generate(now).unwrap();
        let at = CollateralSpec::at(Tee::Sgx, now);
        let of = |spec: &CollateralSpec| Freshness::of(&platform.collateral_with(spec).unwrap());
        let known = of(&at);
        assert_eq!(known.older_than(&known), None);

        let earlier = Timestamp(at.issued.0 - 1);
        let older = of(&CollateralSpec { issued: earlier, ..at.clone() });
        assert!(older.older_than(&known).unwrap().starts_with("the TCB info is number 1 of "));
        assert_eq!(known.older_than(&older), None);
        let older_crl = of(&CollateralSpec { crl_issued: earlier, ..at.clone() });
        assert!(older_crl.older_than(&known).unwrap().starts_with("the PCK CRL"));

        // The newest of each is what counts from then on.
        let mixed = of(&CollateralSpec {
            issued: at.issued.plus(std::time::Duration::from_secs(9)),
            crl_issued: earlier,
            ..at
        });
        assert!(known.older_than(&mixed.max(known)).unwrap().contains("TCB info"));
        assert!(mixed.older_than(&mixed.max(known)).unwrap().contains("PCK CRL"));
    }
}

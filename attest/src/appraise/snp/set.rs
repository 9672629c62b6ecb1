//! What AMD's key service has for one line of processors: kept and carried as a whole.

use std::fmt;
use std::str::FromStr;

use super::chain::{Authority, Crl, verify};
use super::{AmdBook, AmdRoot, SigningKey, SnpProduct};
use crate::appraise::AppraisalError;
use crate::appraise::x509::{crl_window, parse_crl};
use crate::evidence::SnpEndorsements;
use crate::{CollateralDigest, Digest, Reason, Timestamp};

/// The certificate of a CA of AMD's, the revocation list above it, and certificates of keys under it. Read and not
/// believed: [`AmdSet::verify`] says what of it holds, and every appraisal says it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AmdSet {
    pub id: AmdSetId,
    /// Of the ASK or ASVK, in DER.
    pub ask: Vec<u8>,
    /// Of the ARK, in DER.
    pub crl: Vec<u8>,
    /// Of VCEKs or VLEKs, in DER. Invariant of what is read: at most [`AmdBook::MAX_CHAINS`].
    pub certificates: Vec<Vec<u8>>,
}

/// What a set is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AmdSetId {
    pub product: SnpProduct,
    pub key: SigningKey,
}

/// Which key of a line of processors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AmdKeyId {
    /// `None` for a cloud's key.
    pub chip_id: Option<[u8; 64]>,
    pub tcb: [u8; 8],
}

/// For how long a verified set serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AmdSetWindow {
    /// Of the revocation list: an older one than is known is not taken.
    pub issued: Timestamp,
    /// The end of the list, of the CA or of its root, whichever is first.
    pub expires: Timestamp,
}

impl AmdSet {
    /// That all of it stands under one of `roots`, and is valid now. Whether the list revokes the CA is not asked: such a
    /// list has to be kept, so that appraisal refuses what is below.
    pub fn verify(&self, roots: &[AmdRoot], now: Timestamp) -> Result<AmdSetWindow, AppraisalError> {
        let ca = Authority::verify(&self.ask, roots, now)?;
        self.belongs("the ASK or ASVK", ca.root.product)?;
        ca.is_for(self.id.key)?;
        let (product, crl) = Crl::verify(&self.crl, roots, now)?;
        self.belongs("AMD's CRL", product)?;
        for certificate in &self.certificates {
            let vek = verify(&self.endorsements(certificate), roots, now)?;
            if vek.kind != self.id.key {
                let (expected, found) = (format!("{:?}", self.id.key), format!("{:?}", vek.kind));
                return Err(AppraisalError::new(Reason::Collateral, "the VCEK or VLEK", expected, found));
            }
        }
        let window = crl.window()?;
        Ok(AmdSetWindow { issued: window.issued, expires: window.next.min(ca.expires) })
    }

    /// When the list was issued, if it was good then: one that has expired still tells how new the next one has to be.
    pub fn issued_once(&self, roots: &[AmdRoot]) -> Option<Timestamp> {
        let issued = parse_crl(&self.crl).and_then(|crl| Ok(crl_window(&crl)?.0)).ok()?;
        Crl::verify(&self.crl, roots, issued).is_ok_and(|(product, _)| product == self.id.product).then_some(issued)
    }

    /// Which chip and which TCB each certificate of the set is for. [`AmdSet::verify`] comes first.
    pub fn keys(&self, roots: &[AmdRoot], now: Timestamp) -> Result<Vec<AmdKeyId>, AppraisalError> {
        let read = |certificate: &Vec<u8>| {
            let vek = verify(&self.endorsements(certificate), roots, now)?;
            Ok(AmdKeyId { chip_id: vek.chip_id, tcb: vek.tcb })
        };
        self.certificates.iter().map(read).collect()
    }

    /// A certificate of the set with what is above it.
    pub fn endorsements(&self, certificate: &[u8]) -> SnpEndorsements {
        SnpEndorsements { vcek: certificate.to_vec(), ask: self.ask.clone() }
    }

    /// Over every part, so that no two sets share a digest.
    pub fn digest(&self) -> CollateralDigest {
        let parts = [&self.ask, &self.crl].into_iter().chain(&self.certificates);
        let hashes: Vec<u8> = parts.flat_map(|part| *Digest::of(part).as_bytes()).collect();
        CollateralDigest(Digest::of_parts(&[self.id.to_string().as_bytes(), &hashes]))
    }

    pub fn from_json(json: &[u8]) -> Result<Self, AppraisalError> {
        let file: File = serde_json::from_slice(json).map_err(bad)?;
        if file.certificates.len() > AmdBook::MAX_CHAINS {
            return Err(bad(format!("{} certificates, more than {}", file.certificates.len(), AmdBook::MAX_CHAINS)));
        }
        let read = |text: &String| hex::decode(text).map_err(bad);
        Ok(Self {
            id: file.set.parse().map_err(bad)?,
            ask: read(&file.ask)?,
            crl: read(&file.crl)?,
            certificates: file.certificates.iter().map(read).collect::<Result<_, _>>()?,
        })
    }

    pub fn to_json(&self) -> Vec<u8> {
        let file = File {
            set: self.id.to_string(),
            ask: hex::encode(&self.ask),
            crl: hex::encode(&self.crl),
            certificates: self.certificates.iter().map(hex::encode).collect(),
        };
        serde_json::to_vec_pretty(&file).expect("strings always have a JSON form")
    }

    fn belongs(&self, what: &str, product: SnpProduct) -> Result<(), AppraisalError> {
        if product == self.id.product {
            return Ok(());
        }
        Err(AppraisalError::new(Reason::Collateral, what, self.id.product.name(), product.name()))
    }
}

/// In hexadecimal digits.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    set: String,
    ask: String,
    crl: String,
    certificates: Vec<String>,
}

impl fmt::Display for AmdSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self.key {
            SigningKey::Vcek => "vcek",
            SigningKey::Vlek => "vlek",
        };
        write!(f, "sev-snp/{}/{key}", self.product.name().to_ascii_lowercase())
    }
}

impl FromStr for AmdSetId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no set of AMD's; write for example sev-snp/milan/vcek");
        let (product, key) = text.strip_prefix("sev-snp/").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
        let key = match key {
            "vcek" => SigningKey::Vcek,
            "vlek" => SigningKey::Vlek,
            _ => return Err(wrong()),
        };
        Ok(Self { product: product.parse()?, key })
    }
}

fn bad(found: impl ToString) -> AppraisalError {
    AppraisalError::new(Reason::Collateral, "a set of AMD's", "one of our form", found.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CaSpec, NOW, TestAmd, VekSpec};
    use super::*;

    fn set(spec: &VekSpec, revoked: bool) -> AmdSet {
        let amd = TestAmd::shared();
        AmdSet {
            id: AmdSetId { product: spec.product, key: spec.kind() },
            ask: amd.ca(&CaSpec::above(spec)),
            crl: amd.crl(spec.product, revoked, (Timestamp(NOW.0 - 10), Timestamp(NOW.0 + 10))),
            certificates: vec![amd.vek(spec)],
        }
    }

    #[test]
    fn comes_back_as_it_was_and_verifies() {
        let roots = TestAmd::shared().roots();
        for spec in [VekSpec::vcek(SnpProduct::Turin), VekSpec::vlek(SnpProduct::Milan)] {
            let set = set(&spec, false);
            let read = AmdSet::from_json(&set.to_json()).unwrap();
            assert_eq!((&read, read.digest()), (&set, set.digest()));
            let window = read.verify(&roots, NOW).unwrap();
            assert_eq!((window.issued, window.expires), (Timestamp(NOW.0 - 10), Timestamp(NOW.0 + 10)));
            assert_eq!(read.verify(&roots, Timestamp(NOW.0 + 11)).unwrap_err().reason, Reason::Expired);
            assert_eq!(read.issued_once(&roots), Some(window.issued));
            assert_eq!(read.issued_once(&TestAmd::generate().roots()), None);
            let keys = read.keys(&roots, NOW).unwrap();
            assert_eq!((keys.len(), keys[0].tcb, keys[0].chip_id.is_some()), (1, spec.tcb, spec.hwid.is_some()));
        }
        // One that revokes its own CA is kept all the same.
        set(&VekSpec::vcek(SnpProduct::Milan), true).verify(&roots, NOW).unwrap();
        assert_eq!("sev-snp/milan/vcek".parse::<AmdSetId>().unwrap().to_string(), "sev-snp/milan/vcek");
        for bad in ["milan/vcek", "sev-snp/rome/vcek", "sev-snp/milan/vrek", "sev-snp/milan"] {
            assert!(bad.parse::<AmdSetId>().is_err(), "{bad}");
        }
        assert_eq!(AmdSet::from_json(b"{}").unwrap_err().reason, Reason::Collateral);
    }

    #[test]
    fn parts_that_do_not_belong_together() {
        let roots = TestAmd::shared().roots();
        let milan = set(&VekSpec::vcek(SnpProduct::Milan), false);
        let vlek = set(&VekSpec::vlek(SnpProduct::Milan), false);
        let genoa = set(&VekSpec::vcek(SnpProduct::Genoa), false);
        for (what, mixed) in [
            ("another product's CA", AmdSet { ask: genoa.ask.clone(), ..milan.clone() }),
            ("another kind's CA", AmdSet { ask: vlek.ask, ..milan.clone() }),
            ("another product's list", AmdSet { crl: genoa.crl.clone(), ..milan.clone() }),
            ("another kind of key", AmdSet { certificates: vlek.certificates, ..milan.clone() }),
            ("another product's key", AmdSet { certificates: genoa.certificates, ..milan.clone() }),
            ("another name", AmdSet { id: genoa.id, ..milan.clone() }),
        ] {
            let error = mixed.verify(&roots, NOW).unwrap_err();
            assert!(matches!(error.reason, Reason::Collateral | Reason::QuoteSignature), "{what}: {error}");
        }
        let other = TestAmd::generate().roots();
        assert_eq!(milan.verify(&other, NOW).unwrap_err().reason, Reason::QuoteSignature);
    }
}

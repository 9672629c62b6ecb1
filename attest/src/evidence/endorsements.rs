//! Endorsements that an attester sends along: collateral for its own evidence, to be verified like any other.

use super::reader::Reader;
use super::writer::Writer;
use super::{EvidenceError, error};
use crate::tee::EvidenceTag;

/// What stands in a certificate's endorsements extension. A convenience, never a source of trust: whoever uses it
/// verifies it up to a root of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endorsements {
    /// Collateral of Intel's PCS (tag 60000, as rats-tls has it).
    Intel(IntelEndorsements),
    /// The same of a simulated platform (tag 60900).
    Simulated(IntelEndorsements),
    /// The certificates above an SEV-SNP report (tag 0x1A7504).
    SevSnp(SnpEndorsements),
    /// The same of a simulated platform (tag 60900): two fields, where Intel's collateral has eight.
    SimulatedSnp(SnpEndorsements),
}

/// Intel's collateral, in the order of `sgx_ql_qve_collateral_t`. The forms of the fields are Intel's: JSON, PEM, DER.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IntelEndorsements {
    pub version: u32,
    pub tcb_info: Vec<u8>,
    pub tcb_issuer_chain: Vec<u8>,
    pub pck_crl: Vec<u8>,
    pub root_ca_crl: Vec<u8>,
    pub pck_crl_issuer_chain: Vec<u8>,
    pub qe_identity: Vec<u8>,
    pub qe_issuer_chain: Vec<u8>,
}

/// DER certificates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnpEndorsements {
    /// Of the VCEK or VLEK.
    pub vcek: Vec<u8>,
    /// Of the ASK or ASVK. Empty where the host has handed out the certificate of the key alone, as clouds with VLEKs do:
    /// everybody can fetch this one.
    pub ask: Vec<u8>,
}

impl Endorsements {
    /// In bytes, as they travel.
    pub const MAX_LEN: usize = 48 * 1024;

    /// The evidence that they belong to.
    pub fn tag(&self) -> EvidenceTag {
        match self {
            Self::Intel(_) => EvidenceTag::IntelQuote,
            Self::Simulated(_) | Self::SimulatedSnp(_) => EvidenceTag::Simulated,
            Self::SevSnp(_) => EvidenceTag::SevSnp,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let writer = Writer::default().tag(self.tag().number());
        match self {
            Self::Intel(collateral) | Self::Simulated(collateral) => {
                let writer = writer.array(8).uint_of_32_bits(collateral.version);
                collateral.fields().into_iter().fold(writer, |writer, field| writer.bytes(field)).finish()
            }
            Self::SevSnp(chain) | Self::SimulatedSnp(chain) => {
                writer.array(2).bytes(&chain.vcek).bytes(&chain.ask).finish()
            }
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(EvidenceError::TooLarge { what: "endorsements", size: bytes.len(), max: Self::MAX_LEN });
        }
        let mut reader = Reader::new(bytes, "endorsements");
        let endorsements = match error::tag_of(reader.tag()?)? {
            EvidenceTag::IntelQuote => Self::Intel(IntelEndorsements::read(&mut reader)?),
            EvidenceTag::Simulated if reader.array_len()? == 2 => {
                Self::SimulatedSnp(SnpEndorsements::read(&mut reader)?)
            }
            EvidenceTag::Simulated => Self::Simulated(IntelEndorsements::read(&mut reader)?),
            EvidenceTag::SevSnp => Self::SevSnp(SnpEndorsements::read(&mut reader)?),
            EvidenceTag::Null => {
                let tag = EvidenceTag::Null.number();
                return Err(EvidenceError::UnknownTag { tag, name: "the null attester, which nobody endorses" });
            }
        };
        reader.end()?;
        Ok(endorsements)
    }
}

impl SnpEndorsements {
    fn read(reader: &mut Reader<'_>) -> Result<Self, EvidenceError> {
        reader.array(2)?;
        Ok(Self { vcek: reader.bytes()?.to_vec(), ask: reader.bytes()?.to_vec() })
    }
}

impl IntelEndorsements {
    fn fields(&self) -> [&[u8]; 7] {
        [
            &self.tcb_info,
            &self.tcb_issuer_chain,
            &self.pck_crl,
            &self.root_ca_crl,
            &self.pck_crl_issuer_chain,
            &self.qe_identity,
            &self.qe_issuer_chain,
        ]
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EvidenceError> {
        reader.array(8)?;
        let version = reader.uint()?;
        let version = u32::try_from(version).map_err(|_| EvidenceError::Cbor {
            what: "endorsements",
            detail: format!("version {version} does not fit 32 bits"),
        })?;
        let mut field = || Ok::<_, EvidenceError>(reader.bytes()?.to_vec());
        Ok(Self {
            version,
            tcb_info: field()?,
            tcb_issuer_chain: field()?,
            pck_crl: field()?,
            root_ca_crl: field()?,
            pck_crl_issuer_chain: field()?,
            qe_identity: field()?,
            qe_issuer_chain: field()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collateral() -> IntelEndorsements {
        let field = |n: u8| vec![n; usize::from(n)];
        IntelEndorsements {
            version: 4,
            tcb_info: field(1),
            tcb_issuer_chain: field(2),
            pck_crl: field(3),
            root_ca_crl: field(4),
            pck_crl_issuer_chain: field(5),
            qe_identity: field(6),
            qe_issuer_chain: field(7),
        }
    }

    #[test]
    fn round_trips() {
        let snp = SnpEndorsements { vcek: b"vcek".to_vec(), ask: b"ask".to_vec() };
        for endorsements in [
            Endorsements::Intel(collateral()),
            Endorsements::Simulated(collateral()),
            Endorsements::SevSnp(snp.clone()),
            Endorsements::SimulatedSnp(snp),
        ] {
            assert_eq!(Endorsements::decode(&endorsements.encode()).unwrap(), endorsements);
        }
    }

    #[test]
    fn writes_the_version_as_rats_tls_wants_it() {
        let encoded = Endorsements::Intel(collateral()).encode();
        assert_eq!(hex::encode(&encoded[..11]), "d9ea60881a000000044101");
        // And reads it in any width.
        let short = [&encoded[..4], &[4], &encoded[9..]].concat();
        assert_eq!(Endorsements::decode(&short).unwrap(), Endorsements::Intel(collateral()));
    }

    #[test]
    fn refuses_what_is_not_its_shape() {
        let good = Endorsements::Intel(collateral()).encode();
        let longer = [good.as_slice(), &[0]].concat();
        let expected = EvidenceError::TrailingBytes { what: "endorsements", count: 1 };
        assert_eq!(Endorsements::decode(&longer), Err(expected));
        let seven = Writer::default().tag(60000).array(7).uint(4).finish();
        let expected = EvidenceError::Count { what: "endorsements", expected: 8, found: 7 };
        assert_eq!(Endorsements::decode(&seven), Err(expected));
        let unknown = Writer::default().tag(60001).array(8).finish();
        assert!(matches!(Endorsements::decode(&unknown), Err(EvidenceError::UnknownTag { tag: 60001, .. })));
        let null = Writer::default().tag(60901).array(8).finish();
        assert!(matches!(Endorsements::decode(&null), Err(EvidenceError::UnknownTag { tag: 60901, .. })));
        let version = Writer::default().tag(60000).array(8).uint(1 << 32).finish();
        assert!(matches!(Endorsements::decode(&version), Err(EvidenceError::Cbor { .. })));
        let large = vec![0; Endorsements::MAX_LEN + 1];
        assert!(matches!(Endorsements::decode(&large), Err(EvidenceError::TooLarge { max: 49152, .. })));
    }
}

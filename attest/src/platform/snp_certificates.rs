//! The table of certificates that a host hands to its SEV-SNP guests (`auxblob`).
//!
//! Entries of 24 bytes: a GUID in the byte order of RFC 4122, offset u32, length u32, both little-endian and from the
//! start of the table; an entry of zeros ends it. Source: AMD "SEV-ES GHCB Standardization", SNP Extended Guest
//! Request.

use crate::appraise::pem_certificates;
use crate::evidence::{Endorsements, SnpEndorsements};

/// The certificates that belong to `report`. `None` if the host has not that of the key, or if the table cannot be read:
/// endorsements spare a peer a download, and a host must not be able to stop a guest with bad ones. A cloud may hand out
/// its VLEK alone: nobody else has it, and everybody can fetch what is above it.
pub(super) fn endorsements(report: &[u8], table: &[u8]) -> Option<Endorsements> {
    let signer = match signing_key(report)? {
        SigningKey::Vcek => VCEK,
        SigningKey::Vlek => VLEK,
    };
    let ask = find(table, ASK).and_then(der).unwrap_or_default();
    let endorsements = Endorsements::SevSnp(SnpEndorsements { vcek: der(find(table, signer)?)?, ask });
    (endorsements.encode().len() <= Endorsements::MAX_LEN).then_some(endorsements)
}

enum SigningKey {
    Vcek,
    Vlek,
}

/// SIGNING_KEY in bits 2 to 4 at 0x48 of a report.
fn signing_key(report: &[u8]) -> Option<SigningKey> {
    match (report.get(0x48)? >> 2) & 7 {
        0 => Some(SigningKey::Vcek),
        1 => Some(SigningKey::Vlek),
        _ => None,
    }
}

fn find(table: &[u8], guid: u128) -> Option<&[u8]> {
    for entry in table.chunks_exact(ENTRY) {
        let (found, place) = entry.split_at(16);
        let (offset, len) = place.split_at(4);
        let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize);
        let found = u128::from_be_bytes(found.try_into().ok()?);
        if found == 0 {
            return None;
        }
        if found == guid {
            let (offset, len) = (number(offset)?, number(len)?);
            return table.get(offset..offset.checked_add(len)?).filter(|certificate| !certificate.is_empty());
        }
    }
    None
}

/// Hosts are given certificates as AMD's server hands them out: the VCEK in DER, what is above it in PEM.
fn der(certificate: &[u8]) -> Option<Vec<u8>> {
    if !certificate.starts_with(b"-----BEGIN") {
        return Some(certificate.to_vec());
    }
    let pem = std::str::from_utf8(certificate).ok()?;
    pem_certificates(pem.trim_end_matches('\0')).ok()?.into_iter().next()
}

const ENTRY: usize = 24;
const VCEK: u128 = 0x63da758d_e664_4564_adc5_f4b93be8accd;
const VLEK: u128 = 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1;
const ASK: u128 = 0x4ab7b379_bbac_4fe4_a02f_05aef327c782;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quote::testing;

    const ARK: u128 = 0xc0b406a4_a803_4952_9743_3fb6014cd0ae;

    /// A host's table, by the names of AMD's certificates.
    pub(in crate::platform) fn table(certificates: &[(&str, &[u8])]) -> Vec<u8> {
        let mut offset = ENTRY * (certificates.len() + 1);
        let mut table = Vec::new();
        for (name, certificate) in certificates {
            let guid = match *name {
                "VCEK" => VCEK,
                "VLEK" => VLEK,
                "ASK" => ASK,
                _ => ARK,
            };
            table.extend(guid.to_be_bytes());
            table.extend((offset as u32).to_le_bytes());
            table.extend((certificate.len() as u32).to_le_bytes());
            offset += certificate.len();
        }
        table.extend([0; ENTRY]);
        certificates.iter().for_each(|(_, certificate)| table.extend(*certificate));
        table
    }

    fn found(vcek: &[u8], ask: &[u8]) -> Option<Endorsements> {
        Some(Endorsements::SevSnp(SnpEndorsements { vcek: vcek.into(), ask: ask.into() }))
    }

    #[test]
    fn the_guids_as_they_lie_in_memory() {
        let bytes = table(&[("VCEK", b"v")]);
        assert_eq!(hex::encode(&bytes[..24]), "63da758de6644564adc5f4b93be8accd3000000001000000");
    }

    #[test]
    fn takes_those_of_the_key_that_signed() {
        let mut report = testing::snp(&[0; 64]);
        let all = table(&[("ARK", b"ark"), ("VLEK", b"vlek"), ("ASK", b"ask"), ("VCEK", b"vcek")]);
        assert_eq!(endorsements(&report, &all), found(b"vcek", b"ask"));
        report[0x48] = 1 << 2;
        assert_eq!(endorsements(&report, &all), found(b"vlek", b"ask"));
        report[0x48] = 7 << 2;
        assert_eq!(endorsements(&report, &all), None, "signed with no key at all");
    }

    #[test]
    fn reads_pem_too() {
        let pem = "-----BEGIN CERTIFICATE-----\nYXNr\n-----END CERTIFICATE-----\n";
        let table = table(&[("VCEK", b"vcek"), ("ASK", pem.as_bytes())]);
        assert_eq!(endorsements(&testing::snp(&[0; 64]), &table), found(b"vcek", b"ask"));
    }

    #[test]
    fn a_bad_table_is_none() {
        let report = testing::snp(&[0; 64]);
        let good = table(&[("VCEK", b"vcek"), ("ASK", b"ask")]);
        assert_eq!(endorsements(&report, &good), found(b"vcek", b"ask"));
        assert_eq!(
            endorsements(&report, &good[..good.len() - 1]),
            found(b"vcek", b""),
            "the ASK points behind its end"
        );
        assert_eq!(endorsements(&report, &table(&[("VCEK", b"vcek")])), found(b"vcek", b""), "no ASK");
        assert_eq!(endorsements(&report, &table(&[("ASK", b"ask")])), None, "no VCEK");
        assert_eq!(endorsements(&report, &table(&[("VCEK", b""), ("ASK", b"ask")])), None, "an empty certificate");
        assert_eq!(endorsements(&report, b""), None);
        let large = vec![1; Endorsements::MAX_LEN];
        assert_eq!(endorsements(&report, &table(&[("VCEK", &large), ("ASK", b"ask")])), None, "too large to carry");
        let mut overflow = good;
        overflow[16..24].fill(0xff);
        assert_eq!(endorsements(&report, &overflow), None, "the VCEK is nowhere");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut table = VCEK.to_be_bytes().to_vec();
            table.extend(&bytes);
            let _ = endorsements(&testing::snp(&[0; 64]), &table);
            let _ = endorsements(&bytes, &bytes);
        }
    }
}

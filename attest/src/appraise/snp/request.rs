//! What AMD's key service is to be asked for so that a report can be judged.

use super::{SigningKey, SnpProduct, SnpReport};
use crate::appraise::AppraisalError;

/// Read off a report that nobody has verified: the peer may say what it likes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SnpRequest {
    /// The products that it can be of, the likeliest first: a report before version 3 does not say.
    pub products: Vec<SnpProduct>,
    pub key: SigningKey,
    /// `None` if the host hides it: the certificate of the key cannot be asked for then.
    pub chip_id: Option<[u8; 64]>,
    /// The TCB that the key was made for, in the layout of its product.
    pub tcb: [u8; 8],
}

impl SnpRequest {
    pub fn of(report: &[u8]) -> Result<Self, AppraisalError> {
        let report = SnpReport::parse(report)?;
        let key = report.check_origin()?;
        let chip_id = (!report.chip_is_masked()).then_some(report.chip_id);
        Ok(Self { products: products(&report), key, chip_id, tcb: report.reported_tcb })
    }
}

/// By family and model of the processor, as AMD numbers them.
fn products(report: &SnpReport) -> Vec<SnpProduct> {
    match report.cpuid {
        Some([0x19, 0x00..=0x0f, _]) => vec![SnpProduct::Milan],
        Some([0x19, 0x10..=0x1f | 0xa0..=0xaf, _]) => vec![SnpProduct::Genoa],
        Some([0x1a, 0x00..=0x11, _]) => vec![SnpProduct::Turin],
        // Turin's identifiers are eight bytes long. For a cloud's key the report may say nothing at all.
        _ if !report.chip_is_masked() && report.chip_id[SnpProduct::Turin.hwid_len()..] == [0; 56] => {
            vec![SnpProduct::Turin]
        }
        _ if report.signing_key() == Some(SigningKey::Vcek) => vec![SnpProduct::Milan, SnpProduct::Genoa],
        _ => SnpProduct::ALL.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CHIP, MILAN_TCB, TURIN_TCB, TestAmd, VekSpec};
    use super::*;

    #[test]
    fn products_by_what_the_report_says() {
        let amd = TestAmd::shared();
        let of = |spec: &VekSpec, version: u8, cpuid: [u8; 3]| {
            let report = amd.report(spec, |report| {
                report[0] = version;
                report[0x188..0x18B].copy_from_slice(&cpuid);
            });
            SnpRequest::of(&report).unwrap()
        };
        let milan = VekSpec::vcek(SnpProduct::Milan);
        for (cpuid, expected) in [
            ([0x19, 0x01, 1], vec![SnpProduct::Milan]),
            ([0x19, 0x11, 1], vec![SnpProduct::Genoa]),
            ([0x19, 0xa0, 2], vec![SnpProduct::Genoa]),
            ([0x1a, 0x02, 1], vec![SnpProduct::Turin]),
            ([0x1b, 0x02, 1], vec![SnpProduct::Milan, SnpProduct::Genoa]),
        ] {
            assert_eq!(of(&milan, 3, cpuid).products, expected, "{cpuid:?}");
        }
        // Before version 3 these bytes mean nothing.
        assert_eq!(of(&milan, 2, [0x1a, 2, 1]).products, [SnpProduct::Milan, SnpProduct::Genoa]);
        let turin = of(&VekSpec::vcek(SnpProduct::Turin), 2, [0; 3]);
        assert_eq!((turin.products, turin.tcb), (vec![SnpProduct::Turin], TURIN_TCB));
        let vlek = of(&VekSpec::vlek(SnpProduct::Milan), 2, [0; 3]);
        assert_eq!((vlek.products.len(), vlek.key), (3, SigningKey::Vlek));

        let found = of(&milan, 3, [0x19, 1, 1]);
        assert_eq!((found.key, found.chip_id, found.tcb), (SigningKey::Vcek, Some(CHIP), MILAN_TCB));
        let masked = amd.report(&milan, |report| report[0x1A0..0x1E0].fill(0));
        assert_eq!(SnpRequest::of(&masked).unwrap().chip_id, None);
        assert!(SnpRequest::of(&[]).is_err());
    }
}

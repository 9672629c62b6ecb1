//! Versions of AMD's firmware, as reports and certificates state them.

use std::fmt;
use std::str::FromStr;

/// A line of AMD's processors. Each has a root of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnpProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004 (Bergamo and Siena have the same root).
    Genoa,
    /// EPYC 9005.
    Turin,
}

/// TCB_VERSION: a security version for each part of the firmware. Comparable within one product only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize)]
pub struct SnpTcb {
    /// From Turin on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    pub bootloader: u8,
    pub tee: u8,
    pub snp: u8,
    pub microcode: u8,
}

impl SnpProduct {
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// As it stands in AMD's certificates and in the addresses of its key service.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// In the TCB_VERSION of this product, the certificate's extension (the last number of its identifier) for each byte.
    pub(crate) const fn tcb_extensions(self) -> [u8; 8] {
        match self {
            Self::Milan | Self::Genoa => [1, 2, 4, 5, 6, 7, 3, 8],
            Self::Turin => [9, 1, 2, 3, 5, 6, 7, 8],
        }
    }

    /// The length of a chip's identifier in its certificate and at AMD's key service, in bytes.
    pub const fn hwid_len(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }
}

impl SnpTcb {
    /// From the eight bytes in a report of this product.
    pub const fn read(product: SnpProduct, raw: [u8; 8]) -> Self {
        match product {
            SnpProduct::Milan | SnpProduct::Genoa => {
                Self { fmc: None, bootloader: raw[0], tee: raw[1], snp: raw[6], microcode: raw[7] }
            }
            SnpProduct::Turin => {
                Self { fmc: Some(raw[0]), bootloader: raw[1], tee: raw[2], snp: raw[3], microcode: raw[7] }
            }
        }
    }

    /// The eight bytes in the layout of a product; reserved ones are zero.
    pub const fn to_raw(&self, product: SnpProduct) -> [u8; 8] {
        let fmc = match self.fmc {
            Some(fmc) => fmc,
            None => 0,
        };
        match product {
            SnpProduct::Milan | SnpProduct::Genoa => [self.bootloader, self.tee, 0, 0, 0, 0, self.snp, self.microcode],
            SnpProduct::Turin => [fmc, self.bootloader, self.tee, self.snp, 0, 0, 0, self.microcode],
        }
    }

    /// Whether no part is older. A part that `minimum` does not name is not compared; one that is not there is zero.
    pub fn at_least(&self, minimum: &Self) -> bool {
        minimum.fmc.is_none_or(|fmc| self.fmc.unwrap_or(0) >= fmc)
            && self.bootloader >= minimum.bootloader
            && self.tee >= minimum.tee
            && self.snp >= minimum.snp
            && self.microcode >= minimum.microcode
    }

    /// The lower of each part.
    pub(super) fn lowest(&self, other: &Self) -> Self {
        Self {
            fmc: self.fmc.min(other.fmc),
            bootloader: self.bootloader.min(other.bootloader),
            tee: self.tee.min(other.tee),
            snp: self.snp.min(other.snp),
            microcode: self.microcode.min(other.microcode),
        }
    }
}

impl fmt::Display for SnpProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SnpProduct {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|product| product.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("`{text}` is no product with SEV-SNP; there are milan, genoa and turin"))
    }
}

impl fmt::Display for SnpTcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc} ")?;
        }
        write!(f, "bootloader {} tee {} snp {} microcode {}", self.bootloader, self.tee, self.snp, self.microcode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_layouts() {
        let raw = [1, 2, 3, 4, 5, 6, 7, 8];
        let milan = SnpTcb::read(SnpProduct::Milan, raw);
        assert_eq!(milan, SnpTcb { fmc: None, bootloader: 1, tee: 2, snp: 7, microcode: 8 });
        assert_eq!(milan, SnpTcb::read(SnpProduct::Genoa, raw));
        let turin = SnpTcb::read(SnpProduct::Turin, raw);
        assert_eq!(turin, SnpTcb { fmc: Some(1), bootloader: 2, tee: 3, snp: 4, microcode: 8 });
        assert_eq!(milan.to_raw(SnpProduct::Milan), [1, 2, 0, 0, 0, 0, 7, 8]);
        assert_eq!(turin.to_raw(SnpProduct::Turin), [1, 2, 3, 4, 0, 0, 0, 8]);
        assert_eq!(milan.to_string(), "bootloader 1 tee 2 snp 7 microcode 8");
        assert_eq!(turin.to_string(), "fmc 1 bootloader 2 tee 3 snp 4 microcode 8");
    }

    #[test]
    fn compares_part_by_part() {
        let tcb = SnpTcb { fmc: Some(1), bootloader: 3, tee: 1, snp: 8, microcode: 115 };
        assert!(tcb.at_least(&tcb) && tcb.at_least(&SnpTcb::default()));
        for higher in [
            SnpTcb { fmc: Some(2), ..SnpTcb::default() },
            SnpTcb { bootloader: 4, ..SnpTcb::default() },
            SnpTcb { tee: 2, ..SnpTcb::default() },
            SnpTcb { snp: 9, ..SnpTcb::default() },
            SnpTcb { microcode: 116, ..SnpTcb::default() },
        ] {
            assert!(!tcb.at_least(&higher), "{higher}");
        }
        assert!(!SnpTcb::default().at_least(&SnpTcb { fmc: Some(1), ..SnpTcb::default() }));
        let other = SnpTcb { fmc: Some(0), bootloader: 9, tee: 0, snp: 9, microcode: 1 };
        let lowest = SnpTcb { fmc: Some(0), bootloader: 3, tee: 0, snp: 8, microcode: 1 };
        assert_eq!(tcb.lowest(&other), lowest);
        assert_eq!("MILAN".parse(), Ok(SnpProduct::Milan));
        assert!("naples".parse::<SnpProduct>().is_err());
    }
}

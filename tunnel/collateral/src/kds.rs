//! AMD's key distribution service: where it has what, and how its answers read (AMD 57230 chapter 4, 58369).
//!
//! ```text
//! /vcek/v1/Milan/cert_chain                    ASK and ARK, in PEM
//! /vcek/v1/Milan/crl                           the list of the ARK, in DER
//! /vcek/v1/Milan/CHIP?blSPL=..&teeSPL=..       the VCEK of a chip at a TCB, in DER; Turin adds fmcSPL
//! /vlek/v1/Milan/cert_chain, /vlek/v1/Milan/crl
//! ```
//!
//! It is known to limit how often it is asked. VLEKs themselves are handed to clouds alone.

use bytes::Bytes;
use inclavared_attest::Timestamp;
use inclavared_attest::appraise::snp::{
    AmdBook, AmdKeyId, AmdRoot, AmdSet, AmdSetId, AmdSetWindow, SigningKey, SnpProduct, SnpRequest, SnpTcb,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::Instant;

use super::fetch::Round;
use super::{CollateralError, Endpoint, FetchError, Fetcher, SetId};

/// One resource of the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AmdPart {
    /// The CA's certificate, and the root's above it.
    Chain(AmdSetId),
    Crl(AmdSetId),
    Vcek {
        product: SnpProduct,
        chip_id: [u8; 64],
        tcb: [u8; 8],
    },
}

/// What is wanted, and what makes it acceptable.
pub(super) struct AmdWanted<'a> {
    pub(super) request: &'a SnpRequest,
    pub(super) roots: &'a [AmdRoot],
    pub(super) now: Timestamp,
    /// The CA and the list at hand, of the products that the request may be for.
    pub(super) present: &'a [AmdSet],
    /// When the newest list that is known of a product was issued: nothing older is taken.
    pub(super) known: &'a (dyn Fn(SnpProduct) -> Option<Timestamp> + Sync),
}

/// A verified set, with the one certificate that was asked for, if it was one that can be.
#[derive(Debug)]
pub(super) struct AmdFetched {
    pub(super) set: AmdSet,
    pub(super) window: AmdSetWindow,
    pub(super) keys: Vec<AmdKeyId>,
    /// CA and list came from the service, too.
    pub(super) fresh: bool,
}

impl Fetcher {
    /// From the first of `endpoints` that has all of it.
    pub(super) async fn amd(
        &self,
        endpoints: &[Endpoint],
        wanted: &AmdWanted<'_>,
    ) -> Result<AmdFetched, CollateralError> {
        let mut round = Round::new(self, endpoints);
        while let Some((endpoint, deadline)) = round.next() {
            match self.amd_of(endpoint, wanted, deadline).await {
                Ok(fetched) => {
                    round.succeeded(endpoint);
                    return Ok(fetched);
                }
                Err(error) => round.failed(endpoint, error),
            }
        }
        Err(round.end(SetId::of(wanted.request)))
    }

    /// The CA and its list alone, as when they are fetched anew.
    pub(super) async fn amd_authority(
        &self,
        endpoints: &[Endpoint],
        id: AmdSetId,
        wanted: &AmdWanted<'_>,
    ) -> Result<AmdFetched, CollateralError> {
        let mut round = Round::new(self, endpoints);
        while let Some((endpoint, deadline)) = round.next() {
            let fetched = async {
                let set = self.authority(endpoint, id, deadline).await?;
                verified(set, true, wanted)
            };
            match fetched.await {
                Ok(fetched) => {
                    round.succeeded(endpoint);
                    return Ok(fetched);
                }
                Err(error) => round.failed(endpoint, error),
            }
        }
        Err(round.end(SetId::Amd(id)))
    }

    /// Of the products that it may be, the first that the service knows the chip of.
    async fn amd_of(
        &self,
        endpoint: &Endpoint,
        wanted: &AmdWanted<'_>,
        deadline: Instant,
    ) -> Result<AmdFetched, FetchError> {
        let SnpRequest { products, key, chip_id, tcb } = wanted.request;
        let mut last = FetchError::Status { part: VCEK, status: 404 };
        for product in products {
            let id = AmdSetId { product: *product, key: *key };
            let certificate = match (key, chip_id) {
                (SigningKey::Vcek, Some(chip_id)) => {
                    let part = AmdPart::Vcek { product: *product, chip_id: *chip_id, tcb: *tcb };
                    match self.amd_part(endpoint, part, deadline).await {
                        Ok(certificate) => Some(certificate.to_vec()),
                        // Another product's chip.
                        Err(error @ FetchError::Status { status: 400 | 404, .. }) => {
                            last = error;
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
                _ => None,
            };
            let present = wanted.present.iter().find(|set| set.id == id);
            let authority = match present {
                Some(set) => AmdSet { certificates: Vec::new(), ..set.clone() },
                None => self.authority(endpoint, id, deadline).await?,
            };
            let set = AmdSet { certificates: certificate.into_iter().collect(), ..authority };
            let fetched = verified(set, present.is_none(), wanted)?;
            let fits = |own: &AmdKeyId| own.chip_id == *chip_id && own.tcb == *tcb;
            if *key == SigningKey::Vcek && !fetched.keys.iter().all(fits) {
                let what = "the certificate of another chip, or for another TCB".to_owned();
                return Err(FetchError::Form { part: VCEK, what });
            }
            return Ok(fetched);
        }
        Err(last)
    }

    async fn authority(&self, endpoint: &Endpoint, id: AmdSetId, deadline: Instant) -> Result<AmdSet, FetchError> {
        let (chain, crl) = tokio::try_join!(
            self.amd_part(endpoint, AmdPart::Chain(id), deadline),
            self.amd_part(endpoint, AmdPart::Crl(id), deadline),
        )?;
        let ask = CertificateDer::from_pem_slice(&chain)
            .map_err(|error| FetchError::Form { part: CHAIN, what: error.to_string() })?;
        Ok(AmdSet { id, ask: ask.to_vec(), crl: crl.to_vec(), certificates: Vec::new() })
    }

    async fn amd_part(&self, endpoint: &Endpoint, part: AmdPart, deadline: Instant) -> Result<Bytes, FetchError> {
        let answer = self.ask_for(endpoint, part.name(), &endpoint.plain(&part.path()), deadline).await?;
        Ok(answer.body)
    }
}

/// Only what stands under the roots is kept, and nothing that goes back in time.
fn verified(set: AmdSet, fresh: bool, wanted: &AmdWanted<'_>) -> Result<AmdFetched, FetchError> {
    let window = set.verify(wanted.roots, wanted.now).map_err(FetchError::Refused)?;
    let keys = set.keys(wanted.roots, wanted.now).map_err(FetchError::Refused)?;
    match (wanted.known)(set.id.product) {
        Some(known) if window.issued < known => {
            Err(FetchError::Rollback(format!("AMD's CRL is of {}, where {known} is known", window.issued)))
        }
        _ => Ok(AmdFetched { set, window, keys, fresh }),
    }
}

impl AmdPart {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Chain(_) => CHAIN,
            Self::Crl(_) => "AMD's CRL",
            Self::Vcek { .. } => VCEK,
        }
    }

    /// Path and query.
    pub(super) fn path(self) -> String {
        match self {
            Self::Chain(id) => format!("/{}/v1/{}/cert_chain", kind(id.key), id.product),
            Self::Crl(id) => format!("/{}/v1/{}/crl", kind(id.key), id.product),
            Self::Vcek { product, chip_id, tcb } => {
                let chip = hex::encode(&chip_id[..product.hwid_len()]);
                let SnpTcb { fmc, bootloader, tee, snp, microcode } = SnpTcb::read(product, tcb);
                let fmc = fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
                format!(
                    "/vcek/v1/{product}/{chip}?{fmc}blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}"
                )
            }
        }
    }

    /// Reads a path and a query; `None` if they name nothing of the service.
    pub(super) fn parse(path: &str, query: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let key = match (parts.next()?, parts.next()?) {
            ("vcek", "v1") => SigningKey::Vcek,
            ("vlek", "v1") => SigningKey::Vlek,
            _ => return None,
        };
        let product = parts.next()?;
        let product = SnpProduct::ALL.into_iter().find(|known| known.name() == product)?;
        let id = AmdSetId { product, key };
        let part = match (parts.next()?, key) {
            ("cert_chain", _) => Self::Chain(id),
            ("crl", _) => Self::Crl(id),
            (chip, SigningKey::Vcek) => {
                let chip = hex::decode(chip).ok().filter(|chip| chip.len() == product.hwid_len())?;
                let mut chip_id = [0; 64];
                chip_id[..chip.len()].copy_from_slice(&chip);
                let spl = |name: &str| {
                    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                    pairs.find(|(key, _)| *key == name).map_or(Some(0), |(_, value)| value.parse::<u8>().ok())
                };
                let tcb = SnpTcb {
                    fmc: Some(spl("fmcSPL")?),
                    bootloader: spl("blSPL")?,
                    tee: spl("teeSPL")?,
                    snp: spl("snpSPL")?,
                    microcode: spl("ucodeSPL")?,
                };
                Self::Vcek { product, chip_id, tcb: tcb.to_raw(product) }
            }
            _ => return None,
        };
        parts.next().is_none().then_some(part)
    }
}

fn kind(key: SigningKey) -> &'static str {
    match key {
        SigningKey::Vcek => "vcek",
        SigningKey::Vlek => "vlek",
    }
}

const CHAIN: &str = "AMD's certificate chain";
const VCEK: &str = "VCEK";

/// So many certificates of keys are kept of one set.
pub(super) const MAX_KEYS: usize = AmdBook::MAX_CHAINS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_the_service() {
        let milan = AmdSetId { product: SnpProduct::Milan, key: SigningKey::Vcek };
        assert_eq!(AmdPart::Chain(milan).path(), "/vcek/v1/Milan/cert_chain");
        let vlek = AmdSetId { product: SnpProduct::Genoa, key: SigningKey::Vlek };
        assert_eq!(AmdPart::Crl(vlek).path(), "/vlek/v1/Genoa/crl");
        let of = |product, tcb| AmdPart::Vcek { product, chip_id: [0xAB; 64], tcb };
        let chip = "ab".repeat(64);
        assert_eq!(
            of(SnpProduct::Milan, [3, 0, 0, 0, 0, 0, 8, 115]).path(),
            format!("/vcek/v1/Milan/{chip}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115")
        );
        assert_eq!(
            of(SnpProduct::Turin, [1, 3, 0, 8, 0, 0, 0, 67]).path(),
            "/vcek/v1/Turin/abababababababab?fmcSPL=01&blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=67"
        );
    }

    #[test]
    fn reads_its_own_addresses_and_nothing_else() {
        let mut turin = [0; 64];
        turin[..8].fill(7);
        let parts = [
            AmdPart::Chain(AmdSetId { product: SnpProduct::Milan, key: SigningKey::Vlek }),
            AmdPart::Crl(AmdSetId { product: SnpProduct::Turin, key: SigningKey::Vcek }),
            AmdPart::Vcek { product: SnpProduct::Genoa, chip_id: [1; 64], tcb: [9, 1, 0, 0, 0, 0, 200, 255] },
            AmdPart::Vcek { product: SnpProduct::Turin, chip_id: turin, tcb: [1, 2, 3, 4, 0, 0, 0, 5] },
        ];
        for part in parts {
            let path = part.path();
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            assert_eq!(AmdPart::parse(path, query), Some(part), "{path}");
        }
        for path in [
            "/vcek/v1/Rome/crl",
            "/vcek/v2/Milan/crl",
            "/vcek/v1/Milan",
            "/vcek/v1/Milan/crl/x",
            "/vcek/v1/Milan/abcd",
            "/vlek/v1/Milan/0707070707070707",
            "vcek/v1/Milan/crl",
        ] {
            assert_eq!(AmdPart::parse(path, ""), None, "{path}");
        }
        let chip = format!("/vcek/v1/Milan/{}", "00".repeat(64));
        assert_eq!(AmdPart::parse(&chip, "blSPL=256"), None);
    }
}

//! The fetcher: a whole set from the first service that has a good one.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{HeaderMap, RETRY_AFTER};
use inclavared_attest::Timestamp;
use inclavared_attest::appraise::{Collateral, CollateralId};
use serde_json::json;
use tokio::time::{Instant, sleep};
use x509_parser::prelude::{DistributionPointName, FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::client::{Answer, HttpClient};
use super::freshness::Freshness;
use super::{CollateralError, Endpoint, EndpointFailure, FetchError, FetchSettings, Part, PartAnswer};
use crate::CollateralCounters;

/// Fetches collateral. It keeps nothing but connections, and who asked to be left alone.
#[derive(Debug)]
pub struct Fetcher {
    settings: FetchSettings,
    client: HttpClient,
    resting: Mutex<HashMap<Endpoint, Rest>>,
    counters: Arc<CollateralCounters>,
}

/// Which set, and what makes one acceptable.
pub(super) struct Wanted<'a> {
    pub(super) id: CollateralId,
    pub(super) root_der: &'a [u8],
    pub(super) now: Timestamp,
    /// The newest that is known: nothing older is taken.
    pub(super) known: Option<Freshness>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    status: u16,
}

impl Fetcher {
    pub fn new(settings: FetchSettings) -> Self {
        Self::with_counters(settings, Arc::default())
    }

    pub(super) fn with_counters(settings: FetchSettings, counters: Arc<CollateralCounters>) -> Self {
        Self { client: HttpClient::new(&settings), settings, resting: Mutex::default(), counters }
    }

    /// A whole set, verified against `root_der` at `now`, from the first of `endpoints` that has one. Takes at most
    /// [`FetchSettings::set_deadline`]; can be dropped at any time. Runs on a tokio runtime with I/O and time.
    pub async fn fetch(
        &self,
        endpoints: &[Endpoint],
        id: CollateralId,
        root_der: &[u8],
        now: Timestamp,
    ) -> Result<Collateral, CollateralError> {
        self.fetch_newer(endpoints, &Wanted { id, root_der, now, known: None }).await
    }

    pub(super) async fn fetch_newer(
        &self,
        endpoints: &[Endpoint],
        wanted: &Wanted<'_>,
    ) -> Result<Collateral, CollateralError> {
        let mut round = Round::new(self, endpoints);
        while let Some((endpoint, deadline)) = round.next() {
            match self.set(endpoint, wanted, deadline).await {
                Ok(set) => {
                    round.succeeded(endpoint);
                    return Ok(set);
                }
                Err(error) => round.failed(endpoint, error),
            }
        }
        Err(round.end(wanted.id))
    }

    /// One part, as it comes: nothing is verified.
    pub(super) async fn part(
        &self,
        endpoints: &[Endpoint],
        part: Part,
        root_der: &[u8],
    ) -> Result<PartAnswer, CollateralError> {
        let mut round = Round::new(self, endpoints);
        while let Some((endpoint, deadline)) = round.next() {
            match self.one_part(endpoint, part, root_der, deadline).await {
                Ok(answer) => {
                    round.succeeded(endpoint);
                    return Ok(answer);
                }
                Err(error) => round.failed(endpoint, error),
            }
        }
        Err(round.end(part.name()))
    }

    async fn set(&self, endpoint: &Endpoint, wanted: &Wanted<'_>, deadline: Instant) -> Result<Collateral, FetchError> {
        let [pck_crl, tcb_info, qe_identity, root_crl] = Part::of(wanted.id);
        let fetch = |part| self.one_part(endpoint, part, wanted.root_der, deadline);
        let (pck_crl, tcb_info, qe_identity, root_crl) =
            tokio::try_join!(fetch(pck_crl), fetch(tcb_info), fetch(qe_identity), fetch(root_crl))?;
        let set = json!({
            "pck_crl_issuer_chain": pck_crl.issuer_chain,
            "pck_crl": hex::encode(&pck_crl.body),
            "root_ca_crl": hex::encode(&root_crl.body),
            "tcb_info_issuer_chain": tcb_info.issuer_chain,
            "tcb_info": String::from_utf8_lossy(&tcb_info.body),
            "tcb_info_signature": hex::encode(&tcb_info.signature),
            "qe_identity_issuer_chain": qe_identity.issuer_chain,
            "qe_identity": String::from_utf8_lossy(&qe_identity.body),
            "qe_identity_signature": hex::encode(&qe_identity.signature),
        });
        let collateral = Collateral::from_json(set.to_string().as_bytes()).map_err(FetchError::Refused)?;
        if collateral.id() != wanted.id {
            return Err(FetchError::OtherSet { found: collateral.id() });
        }
        collateral.verify(wanted.root_der, wanted.now).map_err(FetchError::Refused)?;
        match wanted.known.and_then(|known| Freshness::of(&collateral).older_than(&known)) {
            Some(what) => Err(FetchError::Rollback(what)),
            None => Ok(collateral),
        }
    }

    async fn one_part(
        &self,
        endpoint: &Endpoint,
        part: Part,
        root_der: &[u8],
        deadline: Instant,
    ) -> Result<PartAnswer, FetchError> {
        let published = (part == Part::RootCaCrl).then(|| distribution_point(root_der)).flatten();
        if let Some(url) = published.as_deref().filter(|_| endpoint.is_intel()) {
            return self.ask(endpoint, part, url, deadline).await;
        }
        let url = part.url(endpoint, self.settings.tcb_update);
        match (self.ask(endpoint, part, &url, deadline).await, published) {
            // A cache in front of Intel's service may know no more than that service does.
            (Err(FetchError::Status { status: 404, .. }), Some(url)) => self.ask(endpoint, part, &url, deadline).await,
            (answer, _) => answer,
        }
    }

    async fn ask(
        &self,
        endpoint: &Endpoint,
        part: Part,
        url: &str,
        deadline: Instant,
    ) -> Result<PartAnswer, FetchError> {
        part.read(&self.ask_for(endpoint, part.name(), url, deadline).await?)
    }

    /// One answer of status 200. A service that is busy is waited for, and then left alone.
    pub(super) async fn ask_for(
        &self,
        endpoint: &Endpoint,
        name: &'static str,
        url: &str,
        deadline: Instant,
    ) -> Result<Answer, FetchError> {
        let mut retries = self.settings.retries.min(MAX_RETRIES);
        loop {
            let now = Instant::now();
            let limit = self.settings.request_deadline.min(deadline.saturating_duration_since(now));
            let answer = self.client.get(name, url, now + limit, limit).await?;
            match answer.status {
                200 => return Ok(answer),
                status @ (429 | 503) => {
                    let wait = retry_after(&answer.headers).unwrap_or(self.settings.retry_delay);
                    let in_time = Instant::now() + wait < deadline;
                    if retries > 0 && wait <= self.settings.max_retry_after && in_time {
                        retries -= 1;
                        sleep(wait).await;
                        continue;
                    }
                    self.rest(endpoint, status, wait);
                    return Err(FetchError::Busy { part: name, status, wait });
                }
                status => return Err(FetchError::Status { part: name, status }),
            }
        }
    }

    fn rest(&self, endpoint: &Endpoint, status: u16, wait: Duration) {
        let rest = Rest { until: Instant::now() + wait.min(MAX_REST), status };
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.clone(), rest);
    }

    fn rest_of(&self, endpoint: &Endpoint, now: Instant) -> Option<Rest> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|_, rest| rest.until > now);
        resting.get(endpoint).copied()
    }
}

/// One service after the other. The time that is left is shared among those that have not been asked, so that one that
/// does not answer leaves enough for the next.
pub(super) struct Round<'a> {
    fetcher: &'a Fetcher,
    endpoints: &'a [Endpoint],
    end: Instant,
    failures: Vec<EndpointFailure>,
}

impl<'a> Round<'a> {
    pub(super) fn new(fetcher: &'a Fetcher, endpoints: &'a [Endpoint]) -> Self {
        Self { fetcher, endpoints, end: Instant::now() + fetcher.settings.set_deadline, failures: Vec::new() }
    }

    /// Whom to ask next, and until when.
    pub(super) fn next(&mut self) -> Option<(&'a Endpoint, Instant)> {
        loop {
            let (endpoint, others) = self.endpoints.split_first()?;
            self.endpoints = others;
            let now = Instant::now();
            let Some(rest) = self.fetcher.rest_of(endpoint, now) else {
                let asked = u32::try_from(others.len() + 1).unwrap_or(u32::MAX);
                return Some((endpoint, now + self.end.saturating_duration_since(now) / asked));
            };
            let wait = rest.until.saturating_duration_since(now);
            self.failed(endpoint, FetchError::Busy { part: "not asked", status: rest.status, wait });
        }
    }

    pub(super) fn succeeded(&self, endpoint: &Endpoint) {
        self.fetcher.counters.count_fetch(&endpoint.to_string(), true);
    }

    pub(super) fn failed(&mut self, endpoint: &Endpoint, error: FetchError) {
        tracing::debug!(%endpoint, %error, "no collateral from this service");
        self.fetcher.counters.count_fetch(&endpoint.to_string(), false);
        self.failures.push(EndpointFailure { endpoint: endpoint.to_string(), error });
    }

    pub(super) fn end(self, id: impl Display) -> CollateralError {
        CollateralError::Services { id: id.to_string(), failures: self.failures.into() }
    }
}

/// More tries than this within one fetch help nobody, whatever is configured: the next fetch is a new one.
const MAX_RETRIES: u32 = 10;

/// A service cannot have itself left alone for longer, whatever it says.
const MAX_REST: Duration = Duration::from_secs(300);

/// What is read as a wait at all.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Seconds, which is what Intel's and AMD's services send; a date is not read. `None` where there is nothing to read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

/// Where the root certificate says that its CRL stands. The certificate is a trusted one, so this is no address that a
/// peer chose.
fn distribution_point(root_der: &[u8]) -> Option<String> {
    let (_, root) = X509Certificate::from_der(root_der).ok()?;
    let points = root.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(points),
        _ => None,
    })?;
    points.iter().find_map(|point| match point.distribution_point.as_ref()? {
        DistributionPointName::FullName(names) => names.iter().find_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with("https://") => Some((*uri).to_owned()),
            _ => None,
        }),
        DistributionPointName::NameRelativeToCRLIssuer(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use inclavared_attest::appraise::{Root, TrustRoots};

    #[test]
    fn intels_root_says_where_its_crl_stands() {
        let roots = TrustRoots::intel();
        let url = distribution_point(roots.der(Root::Intel).unwrap()).unwrap();
        assert_eq!(url, "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der");
        assert_eq!(distribution_point(b"no certificate"), None);
    }

    #[test]
    fn retry_after_is_bounded_by_who_reads_it() {
        let of = |value: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, hyper::header::HeaderValue::from_static(value))]))
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("18446744073709551615"), Some(MAX_WAIT));
        assert_eq!(of("99999999999999999999999"), None);
        assert_eq!(of("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}

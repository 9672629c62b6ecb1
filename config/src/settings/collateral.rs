//! Where the collateral of peers' evidence comes from: what says which platforms are good.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::Table;

/// `[collateral]`. All of it is signed, so none of this decides what is believed; it decides what is at hand, and how new.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CollateralOptions {
    /// URLs of services, asked in this order. `None`: with a bundle none; otherwise the one that
    /// `sgx_default_qcnl.conf` names, or else Intel's own. Simulated collateral comes from the platform's folder then.
    pub services: Option<Vec<String>>,
    /// URLs of services with the interface of AMD's key service. `None`: with a bundle none, otherwise AMD's own. Simulated
    /// ones are among `services`.
    pub amd_services: Option<Vec<String>>,
    /// How often collateral is fetched anew while it is valid. `None`: once a day.
    pub refresh: Option<Duration>,
    /// A file of collateral, for sites that reach no service.
    pub bundle: Option<PathBuf>,
    /// The folder in which collateral is kept over restarts. `None`: in memory alone.
    pub cache: Option<PathBuf>,
    /// Besides the system's certificate authorities: in PEM, those of a service of one's own.
    pub ca: Option<PathBuf>,
    /// Any TLS certificate of a service. Whoever stands between can hold back what is new until the old expires.
    pub danger_accept_any_certificate: bool,
    /// Plain http to other machines, with the same consequence.
    pub danger_allow_plain_http: bool,
}

impl CollateralOptions {
    /// Simulated collateral has to come from elsewhere than the platform's folder.
    pub fn names_a_source(&self) -> bool {
        self.services.is_some() || self.bundle.is_some()
    }
}

/// `[collateral]`. Relative files lie beside the configuration.
pub(crate) fn read_collateral(file: &Path, root: &Table<'_>) -> CollateralOptions {
    let mut options = CollateralOptions::default();
    let Some(table) = root.table("collateral") else { return options };
    options.services = urls(&table, "services", SERVICE_REMEDY);
    options.amd_services = urls(&table, "amd_services", AMD_REMEDY);
    options.refresh = table.get("refresh").and_then(|value| value.duration(SHORTEST_REFRESH..=LONGEST_REFRESH));
    let beside = file.parent().unwrap_or(Path::new(""));
    for (key, slot) in [("bundle", &mut options.bundle), ("cache", &mut options.cache), ("ca", &mut options.ca)] {
        let path = table.get(key).and_then(|value| value.filled_text("write a path, or leave it out"));
        *slot = path.map(|path| beside.join(path));
    }
    for (key, slot) in [
        ("danger_accept_any_certificate", &mut options.danger_accept_any_certificate),
        ("danger_allow_plain_http", &mut options.danger_allow_plain_http),
    ] {
        *slot = table.get(key).and_then(|value| value.flag()).unwrap_or(*slot);
    }
    table.finish();
    options
}

fn urls(table: &Table<'_>, key: &'static str, remedy: &str) -> Option<Vec<String>> {
    let items = table.get(key)?.one_or_many();
    let urls = items.iter().filter_map(|item| {
        let url = item.filled_text(remedy)?;
        if !is_service(url) {
            item.mistake(format!("`{url}` begins with neither https:// nor http://"), remedy);
        }
        Some(url.to_owned())
    });
    Some(urls.collect())
}

/// The rest of the form is the fetcher's to judge.
pub fn is_service(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

const AMD_REMEDY: &str = "write for example https://kdsintf.amd.com";

/// A service is not asked more often than this; what is valid for a month is asked for at least once in it.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
const LONGEST_REFRESH: Duration = Duration::from_secs(30 * 86_400);

const SERVICE_REMEDY: &str = "write for example https://localhost:8081/sgx/certification/v4/";

//! Where the collateral of peers' evidence comes from. Collateral says which platforms are good.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::Table;

/// `[collateral]`. All collateral is signed by its vendor, so nothing here decides what is believed. It decides what is
/// at hand, and how new that is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CollateralOptions {
    /// URLs of services, asked in this order. `None`: no service if there is a bundle, otherwise the one that
    /// `sgx_default_qcnl.conf` names, or else Intel's own. With the verifier `sim`, `None` means the platform's folder.
    pub services: Option<Vec<String>>,
    /// URLs of services with the interface of AMD's key service. `None`: no service if there is a bundle, otherwise
    /// AMD's own. With the verifier `sim`, simulated ones are among `services`.
    pub amd_services: Option<Vec<String>>,
    /// How often collateral is fetched anew while it is valid. `None`: once a day.
    pub refresh: Option<Duration>,
    /// A file of collateral, for sites that reach no service.
    pub bundle: Option<PathBuf>,
    /// The folder in which collateral is kept over restarts. `None`: in memory alone.
    pub cache: Option<PathBuf>,
    /// Certificate authorities of a service of one's own, in PEM. Those of the system are trusted as well.
    pub ca: Option<PathBuf>,
    /// Accepts any TLS certificate of a service. Whoever stands between can hold back what is new until the old
    /// expires.
    pub danger_accept_any_certificate: bool,
    /// Allows plain http to other machines, with the same consequence.
    pub danger_allow_plain_http: bool,
}

impl CollateralOptions {
    /// Whether a service or a bundle is named, so that simulated collateral does not come from the platform's folder.
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

/// Whether it begins as a URL of a service does. The rest of the form is the fetcher's to judge.
fn is_service(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

const AMD_REMEDY: &str = "write for example https://kdsintf.amd.com";

/// A service is not asked more often than once a second. Collateral is valid for a month and fetched at least once in
/// it.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
const LONGEST_REFRESH: Duration = Duration::from_secs(30 * 86_400);

const SERVICE_REMEDY: &str = "write for example https://localhost:8081/sgx/certification/v4/";

//! Where the interfaces are, and how long a quote may take.

use std::path::PathBuf;
use std::time::Duration;

use super::QgsAddress;

/// What every driver is made with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriverOptions {
    pub roots: Roots,
    /// For one quote, all retries and waiting for the quote before it included. A driver returns when it is over even
    /// if the kernel does not.
    pub deadline: Duration,
    /// Where the quoting service is, for `tdx_ecdsa` over `/dev/tdx_guest`. `None`: on the host, over vsock, at the
    /// port that `tdx-attest.conf` names.
    pub qgs: Option<QgsAddress>,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self { roots: Roots::default(), deadline: Self::DEADLINE, qgs: None }
    }
}

impl DriverOptions {
    /// A quote takes from 5 ms (SEV-SNP) to about a second (TDX on a busy host). Ten leaves room for a few retries
    /// and is still told apart from a host that will never answer.
    pub const DEADLINE: Duration = Duration::from_secs(10);
}

/// The folders under which the interfaces are looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roots {
    pub dev: PathBuf,
    pub configfs: PathBuf,
    pub etc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { dev: "/dev".into(), configfs: "/sys/kernel/config".into(), etc: "/etc".into() }
    }
}

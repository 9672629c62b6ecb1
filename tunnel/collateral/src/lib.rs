//! Collateral: fetched from the services of Intel, of a cloud or of one's own, kept, and served to others.
//!
//! Owns every network and disk access that collateral takes. What is fetched is verified before it is kept, but no
//! verdict rests on that: appraisal (`inclavared_attest::appraise`) verifies all of it again.
//!
//! ```text
//! qcnl, settings -> fetch (endpoint, client, part) -> cache (admission, freshness, disk) -> the book of the appraiser
//!                                                      |-> pccs: the same sets, served to others
//!                                                      `-> bundle: carried to sites without a network
//! ```

mod admission;
mod bundle;
mod cache;
mod client;
mod configured;
mod counters;
mod disk;
mod endpoint;
mod error;
mod fetch;
mod freshness;
mod kds;
mod part;
mod pccs;
mod qcnl;
mod settings;
mod simulated;
mod source;

pub use bundle::{Bundle, BundleError};
pub use cache::CollateralService;
pub use configured::{CollateralSetupError, Need, settings, start};
pub use counters::CollateralCounters;
pub use endpoint::{Endpoint, EndpointError};
pub use error::{CollateralError, EndpointFailure, FetchError, SetId};
pub use fetch::Fetcher;
pub use kds::AmdPart;
pub use part::{Part, PartAnswer};
pub use pccs::{PccsSettings, serve};
pub use qcnl::{Qcnl, QcnlError};
pub use settings::{CacheSettings, Clock, CollateralSettings, FetchSettings, TcbUpdate, TlsTrust, TrustError};
pub use simulated::SimulatedSource;
pub use source::{CollateralSource, PckAnswer, PckRequest, SourceError, SourceFuture, StaticSource};

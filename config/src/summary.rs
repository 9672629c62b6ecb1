//! `check`: what a configuration comes to, for people.

use std::path::Path;

use inclavared_attest::ConfigDigest;

use crate::{Config, Errors, load};

/// What a valid configuration says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// One line a route: name, listen, target, what is demanded of either side.
    pub routes: Vec<String>,
    /// One line a policy.
    pub policies: Vec<String>,
    /// What is allowed, and worth a second look.
    pub warnings: Vec<String>,
    pub digest: ConfigDigest,
}

/// Reads a configuration as the process would, and says what it found.
pub fn check(path: &Path) -> Result<Summary, Errors> {
    load(path).map(|config| config.summary())
}

impl Config {
    pub fn summary(&self) -> Summary {
        Summary { routes: Vec::new(), policies: Vec::new(), warnings: Vec::new(), digest: self.digest }
    }
}

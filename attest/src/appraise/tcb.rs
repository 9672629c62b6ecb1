//! The TCB statuses of Intel's attestation, from best to worst.

use std::fmt;
use std::str::FromStr;

macro_rules! statuses {
    ($($name:ident)*) => {
        /// The state of a platform's trusted computing base (Intel PCS v4, `tcbStatus`); `Ord` goes from best to worst.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
        pub enum TcbStatus { $($name,)* }

        impl TcbStatus {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word that Intel uses.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

statuses! {
    UpToDate
    SWHardeningNeeded
    ConfigurationNeeded
    ConfigurationAndSWHardeningNeeded
    TDRelaunchAdvised
    TDRelaunchAdvisedConfigurationNeeded
    OutOfDate
    OutOfDateConfigurationNeeded
    Revoked
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TcbStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().find(|s| s.name() == text).copied().ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|s| s.name()).collect();
            format!("`{text}` is no TCB status; there are {}", known.join(", "))
        })
    }
}

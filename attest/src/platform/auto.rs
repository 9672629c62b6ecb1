//! `auto`: the attester of the hardware that is there.

use super::{DriverOptions, SevSnp, SgxEcdsa, TdxEcdsa};
use crate::attester::{Attester, AttesterError};

/// The attester that was chosen, and everything that was found, the chosen first.
#[derive(Debug)]
pub struct Found {
    pub attester: Box<dyn Attester>,
    pub detected: Vec<Detected>,
}

/// One kind of hardware that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Detected {
    /// The attester's name.
    pub name: &'static str,
    /// What shows it.
    pub because: String,
}

/// Looks for an enclave around this process, then for a confidential VM around this system: the inner one attests more
/// closely what runs. What attests nothing or a simulation is never chosen; it has to be named. The error lists each
/// interface that was looked for, what was found in its place, and what would help.
pub fn detect(options: &DriverOptions) -> Result<Found, AttesterError> {
    let mut detected = Vec::new();
    let mut tried = Vec::new();
    let mut chosen: Option<Box<dyn Attester>> = None;
    let looked = [
        SgxEcdsa::open(options).map(|attester| (attester.interface(), Box::new(attester) as Box<dyn Attester>)),
        TdxEcdsa::open(options).map(|attester| (attester.interface(), Box::new(attester) as Box<dyn Attester>)),
        SevSnp::open(options).map(|attester| (attester.interface(), Box::new(attester) as Box<dyn Attester>)),
    ];
    for result in looked {
        match result {
            Ok((because, attester)) => {
                detected.push(Detected { name: attester.name(), because });
                chosen.get_or_insert(attester);
            }
            Err(AttesterError::Interfaces { tried: interfaces, .. }) => tried.extend(interfaces),
            Err(error) => tried.push(error),
        }
    }
    match chosen {
        Some(attester) => Ok(Found { attester, detected }),
        None => Err(AttesterError::Interfaces { attester: NAME, tried }),
    }
}

pub const NAME: &str = "auto";

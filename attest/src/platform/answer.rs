//! What a platform answered, before anybody else sees it.

use crate::attester::AttesterError;
use crate::quote::{self, Layout, QuoteError};
use crate::tee::{EvidenceTag, Tee};

/// The quote without its padding, if it is one of that kind over these user data.
pub(super) fn check(tag: EvidenceTag, tee: Tee, mut answer: Vec<u8>, asked: &[u8; 64]) -> Result<Vec<u8>, UnfitAnswer> {
    let layout = Layout::read(tag, &answer)?;
    if layout.tee != tee {
        return Err(UnfitAnswer::Tee { expected: tee, found: layout.tee });
    }
    if quote::user_data(tag, &answer)? != *asked {
        return Err(UnfitAnswer::UserData);
    }
    answer.truncate(layout.len);
    Ok(answer)
}

/// Why an answer is not the quote that was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum UnfitAnswer {
    #[error(transparent)]
    Shape(#[from] QuoteError),
    #[error("a quote of {found:?} where one of {expected:?} was asked for")]
    Tee { expected: Tee, found: Tee },
    #[error("a quote over other user data than was asked: something else used the interface at the same time")]
    UserData,
}

impl UnfitAnswer {
    pub(super) fn told(self, attester: &'static str) -> AttesterError {
        AttesterError::Answer { attester, what: self.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::testing;

    #[test]
    fn cuts_and_refuses() {
        let asked = [7; 64];
        let padded = [testing::tdx_v4(&asked), vec![0; 3000]].concat();
        let intel = EvidenceTag::IntelQuote;
        assert_eq!(check(intel, Tee::Tdx, padded.clone(), &asked), Ok(testing::tdx_v4(&asked)));
        let other = UnfitAnswer::Tee { expected: Tee::Sgx, found: Tee::Tdx };
        assert_eq!(check(intel, Tee::Sgx, padded.clone(), &asked), Err(other));
        assert_eq!(check(intel, Tee::Tdx, padded, &[8; 64]), Err(UnfitAnswer::UserData));
        let short = QuoteError::TooShort { needed: 2, found: 0 };
        assert_eq!(check(intel, Tee::Tdx, Vec::new(), &asked), Err(UnfitAnswer::Shape(short)));
    }
}

//! Addresses as the original programs took them: `127.0.0.1:1234`, `/path/to/socket`, `tcp://...`, `unix://...`.

use std::borrow::Cow;
use std::str::FromStr;

use inclavared_config::AddressError;

use super::Mistakes;

/// A [`inclavared_config::Listen`] or [`inclavared_config::Target`]. A bare absolute path is a Unix socket, as it was in
/// the original.
pub(super) fn read_address<T: FromStr<Err = AddressError>>(
    flag: &str,
    text: &str,
    mistakes: &mut Mistakes,
) -> Option<T> {
    let text = match text.starts_with('/') {
        true => Cow::Owned(format!("unix://{text}")),
        false => Cow::Borrowed(text),
    };
    match text.parse() {
        Ok(address) => Some(address),
        Err(AddressError { what, remedy }) => {
            mistakes.add(flag, what, remedy);
            None
        }
    }
}

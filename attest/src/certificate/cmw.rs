//! The RATS conceptual message wrapper as a certificate extension (draft-ietf-rats-msg-wrap, id-pe-cmw): accepted as
//! input where it holds the tagged evidence that we read anyway.

/// The evidence in the extension's value, `CHOICE { json UTF8String, cbor OCTET STRING }`.
///
/// A CMW record is `[type, value, ?indicator]`. No type is registered for tagged evidence, so that every record is
/// refused by name instead of being guessed at.
pub(super) fn unwrap(extension_value: &[u8]) -> Result<&[u8], CmwError> {
    let cbor = octet_string(extension_value)?;
    match cbor.first().map(|head| head >> 5) {
        Some(CBOR_TAG) => Ok(cbor),
        Some(CBOR_ARRAY) => Err(CmwError::Record(record_type(cbor))),
        Some(CBOR_MAP) => Err(CmwError::Collection),
        _ => Err(CmwError::Form),
    }
}

/// A CMW that is not taken as evidence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CmwError {
    #[error("it is neither one UTF8String nor one OCTET STRING")]
    Der,
    #[error("a CMW in JSON; only the CBOR form is accepted")]
    Json,
    #[error("a CMW record of type {0}; only tagged evidence (60000 and the like) is accepted")]
    Record(String),
    #[error("a CMW collection; only tagged evidence (60000 and the like) is accepted")]
    Collection,
    #[error("its content is no CMW")]
    Form,
}

/// The content of one DER OCTET STRING with nothing after it.
fn octet_string(der: &[u8]) -> Result<&[u8], CmwError> {
    let (tag, rest) = der.split_first().ok_or(CmwError::Der)?;
    let (first, rest) = rest.split_first().ok_or(CmwError::Der)?;
    let (len, content) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => {
            let (len, content) = rest.split_first().filter(|(len, _)| **len >= 0x80).ok_or(CmwError::Der)?;
            (usize::from(*len), content)
        }
        0x82 => {
            let (len, content) = rest.split_first_chunk::<2>().ok_or(CmwError::Der)?;
            let len = usize::from(u16::from_be_bytes(*len));
            if len < 0x100 {
                return Err(CmwError::Der);
            }
            (len, content)
        }
        // A certificate has no room for a longer one.
        _ => return Err(CmwError::Der),
    };
    if content.len() != len {
        return Err(CmwError::Der);
    }
    match *tag {
        DER_OCTET_STRING => Ok(content),
        DER_UTF8_STRING => Err(CmwError::Json),
        _ => Err(CmwError::Der),
    }
}

/// A media type or a CoAP content format, for the error line.
fn record_type(cbor: &[u8]) -> String {
    let mut decoder = minicbor::Decoder::new(cbor);
    if decoder.array().is_err() {
        return "unknown".into();
    }
    if let Ok(media_type) = decoder.probe().str() {
        return media_type.chars().filter(|c| !c.is_control()).take(80).collect();
    }
    decoder.u64().map_or_else(|_| "unknown".into(), |format| format!("content format {format}"))
}

const DER_OCTET_STRING: u8 = 0x04;
const DER_UTF8_STRING: u8 = 0x0c;
const CBOR_ARRAY: u8 = 4;
const CBOR_MAP: u8 = 5;
const CBOR_TAG: u8 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_tagged_evidence_of_any_length() {
        for len in [3, 0x7f, 0x80, 0xff, 0x100, 0x1234] {
            let mut content = vec![0; len];
            content[0] = 0xd9;
            assert_eq!(unwrap(&super::super::testing::octet_string(&content)).unwrap(), content);
        }
    }

    #[test]
    fn refuses_everything_else_by_name() {
        for (value, expected) in [
            (&b"\x0c\x02{}"[..], CmwError::Json),
            (b"\x04\x01\x82", CmwError::Record("unknown".into())),
            (b"\x04\x05\x82\x19\x01\x00\x40", CmwError::Record("content format 256".into())),
            (b"\x04\x06\x82\x63a/b\x40", CmwError::Record("a/b".into())),
            (b"\x04\x01\xa0", CmwError::Collection),
            (b"\x04\x01\x00", CmwError::Form),
            (b"\x04\x00", CmwError::Form),
            (b"\x04\x02\xd9", CmwError::Der),
            (b"\x04\x01\xd9\x00", CmwError::Der),
            (b"\x04\x81\x01\xd9", CmwError::Der),
            (b"\x04\x82\x00\x01\xd9", CmwError::Der),
            (b"\x04\x80\xd9\x00\x00", CmwError::Der),
            (b"\x30\x01\xd9", CmwError::Der),
            (b"\xd9", CmwError::Der),
            (b"", CmwError::Der),
        ] {
            assert_eq!(unwrap(value), Err(expected), "{value:02x?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = unwrap(&bytes);
        }
    }
}

//! The parts of a set as the interface hands them out: where each stands, under which header its chain comes, and how
//! it reads.

use bytes::Bytes;
use hyper::header::HeaderMap;
use inclavared_attest::appraise::{CollateralId, PckCa};
use inclavared_attest::evidence::Tee;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::value::RawValue;

use super::client::Answer;
use super::{Endpoint, FetchError, TcbUpdate};

/// One resource of the interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    PckCrl(PckCa),
    TcbInfo {
        tee: Tee,
        fmspc: [u8; 6],
    },
    QeIdentity(Tee),
    /// Not part of Intel's own service: there it stands where the root certificate says.
    RootCaCrl,
}

/// What one resource holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartAnswer {
    /// A CRL in DER, or the signed JSON object to the byte.
    pub body: Bytes,
    /// r || s over a JSON object; empty for a CRL, which holds its own.
    pub signature: Vec<u8>,
    /// PEM; empty for the root's CRL.
    pub issuer_chain: String,
}

impl Part {
    /// The four that make a set.
    pub(super) fn of(id: CollateralId) -> [Self; 4] {
        [Self::PckCrl(id.ca), Self::TcbInfo { tee: id.tee, fmspc: id.fmspc }, Self::QeIdentity(id.tee), Self::RootCaCrl]
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PckCrl(_) => "PCK CRL",
            Self::TcbInfo { .. } => "TCB info",
            Self::QeIdentity(_) => "QE identity",
            Self::RootCaCrl => "root CA CRL",
        }
    }

    pub(super) fn url(self, endpoint: &Endpoint, update: TcbUpdate) -> String {
        let early = update == TcbUpdate::Early;
        match self {
            Self::PckCrl(ca) => endpoint.url(Tee::Sgx, &format!("pckcrl?ca={}&encoding=der", ca.as_id_str())),
            Self::TcbInfo { tee, fmspc } => {
                let update = if early { "&update=early" } else { "" };
                endpoint.url(tee, &format!("tcb?fmspc={}{update}", hex::encode_upper(fmspc)))
            }
            Self::QeIdentity(tee) => endpoint.url(tee, if early { "qe/identity?update=early" } else { "qe/identity" }),
            Self::RootCaCrl => endpoint.url(Tee::Sgx, "rootcacrl"),
        }
    }

    /// The header of the issuer chain; the first is the one of version 4.
    pub(super) fn chain_headers(self) -> &'static [&'static str] {
        match self {
            Self::PckCrl(_) => &["SGX-PCK-CRL-Issuer-Chain"],
            Self::TcbInfo { .. } => &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"],
            Self::QeIdentity(_) => &["SGX-Enclave-Identity-Issuer-Chain"],
            Self::RootCaCrl => &[],
        }
    }

    pub(super) fn read(self, answer: &Answer) -> Result<PartAnswer, FetchError> {
        let form = |what: String| FetchError::Form { part: self.name(), what };
        match self {
            Self::PckCrl(_) => Ok(PartAnswer {
                body: read_crl(&answer.body).map_err(form)?,
                signature: Vec::new(),
                issuer_chain: self.chain(&answer.headers).map_err(form)?,
            }),
            Self::RootCaCrl => Ok(PartAnswer {
                body: read_crl(&answer.body).map_err(form)?,
                signature: Vec::new(),
                issuer_chain: String::new(),
            }),
            Self::TcbInfo { .. } | Self::QeIdentity(_) => {
                let (object, signature) = self.read_signed(&answer.body).map_err(form)?;
                let body = Bytes::from(object.get().to_owned());
                Ok(PartAnswer { body, signature, issuer_chain: self.chain(&answer.headers).map_err(form)? })
            }
        }
    }

    /// The name of the object that is signed.
    pub(super) fn object(self) -> &'static str {
        if matches!(self, Self::TcbInfo { .. }) { "tcbInfo" } else { "enclaveIdentity" }
    }

    /// The signature covers the object byte for byte, so it is cut out and never written anew.
    fn read_signed(self, body: &[u8]) -> Result<(Box<RawValue>, Vec<u8>), String> {
        #[derive(serde::Deserialize)]
        struct Signed {
            #[serde(alias = "tcbInfo", alias = "enclaveIdentity")]
            object: Box<RawValue>,
            signature: String,
        }
        let signed: Signed = serde_json::from_slice(body)
            .map_err(|error| format!("not of the form {{\"{}\":…, \"signature\":…}}: {error}", self.object()))?;
        let signature = hex::decode(&signed.signature).map_err(|error| format!("its signature: {error}"))?;
        Ok((signed.object, signature))
    }

    fn chain(self, headers: &HeaderMap) -> Result<String, String> {
        let names = self.chain_headers();
        let value = names.iter().find_map(|name| headers.get(*name));
        let value = value.ok_or_else(|| format!("no header {}", names.first().unwrap_or(&"")))?;
        let chain = percent_decode(value.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
        chain.ok_or_else(|| "the header of its issuer chain is not URL-encoded text".to_owned())
    }
}

/// DER as asked for; hexadecimal text from an older PCCS; PEM from Intel's where the encoding was lost on the way.
fn read_crl(body: &Bytes) -> Result<Bytes, String> {
    const SEQUENCE_LONG: [u8; 2] = [0x30, 0x80];
    if body.len() > 2 && body[0] == SEQUENCE_LONG[0] && body[1] & SEQUENCE_LONG[1] != 0 {
        return Ok(body.clone());
    }
    if body.starts_with(b"-----BEGIN") {
        let crl = CertificateRevocationListDer::from_pem_slice(body).map_err(|error| error.to_string())?;
        return Ok(Bytes::copy_from_slice(&crl));
    }
    // Some services put the text in quotation marks, as JSON has it.
    let text = body.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    match hex::decode(text) {
        Ok(der) if !der.is_empty() => Ok(der.into()),
        _ => Err("neither DER nor hexadecimal text nor PEM".to_owned()),
    }
}

/// URL decoding. `+` stands for itself: it is part of Base64.
fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let (digits, tail) = tail.split_first_chunk::<2>()?;
            let mut byte = [0];
            hex::decode_to_slice(digits, &mut byte).ok()?;
            out.extend(byte);
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Some(out)
}

/// URL encoding, as `encodeURIComponent` has it: what a PCCS sends.
pub(super) fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crls_in_every_form() {
        let der = Bytes::from_static(&[0x30, 0x82, 0, 1, 7]);
        assert_eq!(read_crl(&der).unwrap(), der);
        for text in ["3082000107", "\"3082000107\"", " 3082000107\n"] {
            assert_eq!(read_crl(&Bytes::from_static(text.as_bytes())).unwrap(), der, "{text}");
        }
        let pem = Bytes::from_static(b"-----BEGIN X509 CRL-----\nMIIAAQc=\n-----END X509 CRL-----\n");
        assert_eq!(read_crl(&pem).unwrap(), der);
        for bad in ["", "\"", "30", "<html>", "0", "-----BEGIN", "-----BEGIN X509 CRL-----\n!\n-----END X509 CRL-----"]
        {
            let read = read_crl(&Bytes::from_static(bad.as_bytes()));
            assert!(read.is_err() || bad == "30", "{bad}");
        }
    }

    #[test]
    fn signed_objects_are_kept_to_the_byte() {
        let tcb = Part::TcbInfo { tee: Tee::Sgx, fmspc: [0; 6] };
        let (object, signature) = tcb.read_signed(br#"{"tcbInfo": { "b":1,  "a":1.0 },"signature":"0aFF"}"#).unwrap();
        assert_eq!(object.get(), r#"{ "b":1,  "a":1.0 }"#);
        assert_eq!(signature, [0x0a, 0xff]);
        for bad in [&b"{}"[..], b"[]", b"", br#"{"tcbInfo":{}}"#, br#"{"tcbInfo":{},"signature":"x"}"#] {
            assert!(tcb.read_signed(bad).is_err());
        }
    }

    #[test]
    fn chains() {
        let text = "-----BEGIN CERTIFICATE-----\na+b/c==\n";
        assert_eq!(percent_decode(percent_encode(text).as_bytes()).unwrap(), text.as_bytes());
        assert_eq!(percent_decode(b"a+b%2Bc").unwrap(), b"a+b+c");
        for bad in [&b"%"[..], b"%2", b"%zz", b"a%"] {
            assert_eq!(percent_decode(bad), None);
        }
    }
}

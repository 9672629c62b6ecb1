//! The address of a collateral service.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;
use inclavared_attest::evidence::Tee;

/// A service that speaks the interface of Intel's Provisioning Certification Service, version 4.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    /// Scheme, authority and what stands before `/sgx/certification/v4/`.
    base: String,
    host: String,
    https: bool,
}

impl Endpoint {
    /// Intel's own service.
    pub const INTEL: &str = "https://api.trustedservices.intel.com/sgx/certification/v4/";

    /// AMD's own key distribution service.
    pub const AMD: &str = "https://kdsintf.amd.com";

    /// Reads the URL of a service that speaks AMD's interface: what stands before `/vcek/v1/`.
    pub fn parse_amd(url: &str) -> Result<Self, EndpointError> {
        let (authority, https, path) = parts(url, Self::AMD)?;
        if let Some(at) = ["/vcek", "/vlek", "/certification"].iter().find_map(|kind| path.find(kind)) {
            let what = if at == 0 { "its path is not that of the service's root" } else { "its path goes too far" };
            return Err(EndpointError { url: redacted(url), what, example: Self::AMD });
        }
        Ok(Self::new(&authority, https, &path))
    }

    fn new(authority: &str, https: bool, prefix: &str) -> Self {
        let host = host_of(authority);
        let base = format!("{}://{authority}{prefix}", if https { "https" } else { "http" });
        Self { base, host, https }
    }

    /// A path of AMD's interface.
    pub(super) fn plain(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Reads a URL. Version 3 of the interface is at its end of life: a URL of it is read as version 4, and the
    /// warning for the log says so.
    pub fn parse(url: &str) -> Result<(Self, Option<String>), EndpointError> {
        let error = |what| EndpointError { url: redacted(url), what, example: Self::INTEL };
        let (authority, https, path) = parts(url, Self::INTEL)?;
        let (prefix, version) = match KINDS.iter().find_map(|kind| path.rsplit_once(kind)) {
            Some((prefix, version)) => (prefix, version),
            None if path.is_empty() => ("", "v4"),
            None => return Err(error("its path does not end with /sgx/certification/v4/")),
        };
        let warning = match version {
            "v4" => None,
            "v3" => {
                Some(format!("{}: version 3 of the interface is at its end of life; version 4 is asked", redacted(url)))
            }
            _ => return Err(error("its path does not end with /sgx/certification/v4/")),
        };
        Ok((Self::new(&authority, https, prefix), warning))
    }

    /// Where a part of version 4 stands: `rest` is what follows `/sgx/certification/v4/`.
    pub(super) fn url(&self, tee: Tee, rest: &str) -> String {
        let kind = if tee == Tee::Tdx { "tdx" } else { "sgx" };
        format!("{}/{kind}/certification/v4/{rest}", self.base)
    }

    /// Intel's own service has no `rootcacrl`.
    pub(super) fn is_intel(&self) -> bool {
        self.host == "trustedservices.intel.com" || self.host.ends_with(".trustedservices.intel.com")
    }

    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Nobody stands between us and a service on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// A URL that names no collateral service.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{url}` is no collateral service: {what}; write for example {example}")]
pub struct EndpointError {
    url: String,
    what: &'static str,
    example: &'static str,
}

/// Authority, whether it is https, and the path without a slash at its end.
fn parts(url: &str, example: &'static str) -> Result<(String, bool, String), EndpointError> {
    let error = |what| EndpointError { url: redacted(url), what, example };
    if url.len() > MAX_URL {
        return Err(error("longer than any address of a service"));
    }
    let uri: Uri = url.parse().map_err(|_| error("it is no URL"))?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(error("it begins with neither https:// nor http://")),
    };
    let authority = uri.authority().ok_or_else(|| error("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(error("a user name or password has no place in it"));
    }
    if uri.query().is_some() {
        return Err(error("a query has no place in it"));
    }
    Ok((authority.to_string(), https, uri.path().trim_end_matches('/').to_owned()))
}

fn host_of(authority: &str) -> String {
    let host = authority.parse::<hyper::http::uri::Authority>().map_or_else(|_| String::new(), |a| a.host().to_owned());
    host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// A URL for messages: no secrets, no control characters, not without end.
fn redacted(url: &str) -> String {
    let shown = match url.split_once('@') {
        Some((_, rest)) => rest,
        None => url,
    };
    shown.chars().take(200).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

const KINDS: &[&str] = &["/sgx/certification/", "/tdx/certification/"];
const MAX_URL: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_configurations_hold() {
        let base = |url| Endpoint::parse(url).unwrap().0.to_string();
        assert_eq!(base(Endpoint::INTEL), "https://api.trustedservices.intel.com");
        assert_eq!(base("https://localhost:8081/sgx/certification/v4/"), "https://localhost:8081");
        assert_eq!(base("http://[::1]:8081"), "http://[::1]:8081");
        assert_eq!(base("https://h/tdx/certification/v4"), "https://h");
        assert_eq!(base("https://h/behind/a/proxy/sgx/certification/v4/"), "https://h/behind/a/proxy");

        let (v3, warning) = Endpoint::parse("https://h:8081/sgx/certification/v3/").unwrap();
        assert_eq!(v3.url(Tee::Tdx, "tcb?fmspc=00"), "https://h:8081/tdx/certification/v4/tcb?fmspc=00");
        assert!(warning.unwrap().contains("end of life"));
        assert!(Endpoint::parse(Endpoint::INTEL).unwrap().0.is_intel());
        assert!(!Endpoint::parse("https://trustedservices.intel.com.evil.example").unwrap().0.is_intel());
    }

    #[test]
    fn refuses_the_rest() {
        for (url, what) in [
            ("", "no URL"),
            ("localhost:8081/sgx/certification/v4/", "no URL"),
            ("ftp://h/", "neither https"),
            ("https://h/sgx/certification/v5/", "does not end with"),
            ("https://h/other", "does not end with"),
            ("https://user:secret@h/", "no place"),
            ("https://h/sgx/certification/v4/?a=b", "query"),
        ] {
            let error = Endpoint::parse(url).unwrap_err().to_string();
            assert!(error.contains(what), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn amds() {
        let base = |url| Endpoint::parse_amd(url).unwrap().plain("/vcek/v1/Milan/crl");
        assert_eq!(base(Endpoint::AMD), "https://kdsintf.amd.com/vcek/v1/Milan/crl");
        assert_eq!(base("http://localhost:8081/behind/"), "http://localhost:8081/behind/vcek/v1/Milan/crl");
        for (url, what) in [
            ("https://kdsintf.amd.com/vcek/v1", "the service's root"),
            ("https://h/a/vlek/v1/Milan", "too far"),
            ("https://h/sgx/certification/v4/", "too far"),
            ("https://user:secret@h/", "no place"),
            ("kdsintf.amd.com", "neither https"),
        ] {
            let error = Endpoint::parse_amd(url).unwrap_err().to_string();
            assert!(error.contains(what) && error.ends_with(Endpoint::AMD), "{url}: {error}");
        }
    }

    #[test]
    fn loopback() {
        for (host, yes) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
        ] {
            assert_eq!(is_loopback(host), yes, "{host}");
        }
    }
}

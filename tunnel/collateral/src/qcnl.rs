//! `sgx_default_qcnl.conf`: where Intel's own libraries look for their collateral service. Whoever has it set up
//! already should not have to say it twice.
//!
//! Two forms are read: KEY=VALUE (before DCAP 1.13), and JSON with comments (since then).

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::{CollateralSettings, Endpoint, EndpointError, TcbUpdate, disk};

/// What such a file says. A key that is not there is `None`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Qcnl {
    pub pccs_url: Option<String>,
    /// Asked for collateral in the place of the PCCS.
    pub collateral_service: Option<String>,
    /// Whether the certificate of the service is checked.
    pub use_secure_cert: Option<bool>,
    /// How often a service that is busy is asked again; the deadlines bound it besides.
    pub retry_times: Option<u32>,
    pub retry_delay: Option<Duration>,
    pub verify_collateral_cache_expire_hours: Option<u32>,
    /// Of PCK certificates, which quotes bring along here: means nothing, and a warning says so.
    pub local_cache_only: Option<bool>,
    pub tcb_update: Option<TcbUpdate>,
    /// For the log: keys that mean nothing here, values that were read as another.
    pub warnings: Vec<String>,
}

impl Qcnl {
    pub const PATH: &str = "/etc/sgx_default_qcnl.conf";

    /// The file that Intel's libraries would read: `$QCNL_CONF_PATH`, or else [`Qcnl::PATH`]. `None` if that is not
    /// there; a file that the variable names has to be.
    pub fn load_default() -> Result<Option<Self>, QcnlError> {
        match std::env::var_os("QCNL_CONF_PATH").filter(|path| !path.is_empty()) {
            Some(path) => Self::load(Path::new(&path)).map(Some),
            None if Path::new(Self::PATH).exists() => Self::load(Path::new(Self::PATH)).map(Some),
            None => Ok(None),
        }
    }

    pub fn load(path: &Path) -> Result<Self, QcnlError> {
        let io = |source| QcnlError::Io { path: path.into(), source };
        let content = disk::read(path).map_err(io)?;
        if content.len() > MAX_FILE {
            return Err(QcnlError::Form { what: format!("more than {MAX_FILE} bytes") });
        }
        let text = String::from_utf8(content).map_err(|_| QcnlError::Form { what: "it is not UTF-8".into() })?;
        Self::parse(&text)
    }

    /// Reads either form.
    pub fn parse(text: &str) -> Result<Self, QcnlError> {
        let text = text.trim_start_matches('\u{feff}');
        let json = without_comments(text);
        let values = if json.trim_start().starts_with('{') { json_values(&json)? } else { line_values(text)? };
        let mut qcnl = Self::default();
        for (key, value) in values {
            qcnl.set(&key, &value)?;
        }
        Ok(qcnl)
    }

    /// Puts what the file says into settings. `USE_SECURE_CERT=false` turns nothing off by itself: either the settings
    /// allow any certificate by name, or this is refused.
    pub fn apply(&self, settings: &mut CollateralSettings) -> Result<Vec<String>, QcnlError> {
        let mut warnings = self.warnings.clone();
        if let Some(url) = self.collateral_service.as_ref().or(self.pccs_url.as_ref()) {
            let (endpoint, warning) = Endpoint::parse(url)?;
            let tls = &settings.fetch.tls;
            let told = tls.danger_accept_any_certificate || !tls.roots.is_empty();
            if self.use_secure_cert == Some(false) && endpoint.is_https() && !told {
                return Err(QcnlError::InsecureCertificate);
            }
            warnings.extend(warning);
            settings.intel = vec![endpoint];
        }
        if let Some(hours) = self.verify_collateral_cache_expire_hours {
            // Zero turns caching off there; here a set is fetched anew as often as is allowed.
            settings.cache.refresh_every = Duration::from_secs(u64::from(hours.clamp(1, 24 * 30)) * 3600);
        }
        if let Some(times) = self.retry_times {
            settings.fetch.retries = times;
        }
        if let Some(delay) = self.retry_delay {
            settings.fetch.retry_delay = delay;
        }
        if self.local_cache_only == Some(true) {
            let only =
                "`local_cache_only` is for PCK certificates, and quotes bring theirs along here: services are asked";
            warnings.push(format!("{only}; write `services = []` in `[collateral]` to ask nobody"));
        }
        if let Some(update) = self.tcb_update {
            settings.fetch.tcb_update = update;
        }
        Ok(warnings)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), QcnlError> {
        let wrong = |expected: &str| QcnlError::Form { what: format!("{key}: `{value}` is not {expected}") };
        let flag = || match value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong("true or false")),
        };
        let number = || value.parse::<u32>().map_err(|_| wrong("a number"));
        match key.to_ascii_lowercase().as_str() {
            "pccs_url" => self.pccs_url = filled(value),
            "collateral_service" => self.collateral_service = filled(value),
            "use_secure_cert" => self.use_secure_cert = Some(flag()?),
            "retry_times" => self.retry_times = Some(number()?),
            "retry_delay" => self.retry_delay = Some(Duration::from_secs(number()?.into())),
            "verify_collateral_cache_expire_hours" => {
                self.verify_collateral_cache_expire_hours =
                    Some(hours(value).ok_or_else(|| wrong("a number of hours"))?);
            }
            "local_cache_only" => self.local_cache_only = Some(flag()?),
            "tcb_update_type" => {
                self.tcb_update = Some(match value.to_ascii_lowercase().as_str() {
                    "standard" | "" => TcbUpdate::Standard,
                    "early" => TcbUpdate::Early,
                    _ => return Err(wrong("standard or early")),
                });
            }
            // What concerns the quoting side alone.
            "pck_cache_expire_hours" | "local_pck_url" | "pccs_api_version" | "custom_request_options" => (),
            _ => self.warnings.push(format!("`{key}` means nothing here")),
        }
        Ok(())
    }
}

/// What is wrong with such a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QcnlError {
    #[error("reading {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the QCNL configuration: {what}")]
    Form { what: String },
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(
        "the QCNL configuration says USE_SECURE_CERT=false, which alone turns nothing off; name the certificate of the \
         CA of that PCCS, or set danger_accept_any_certificate"
    )]
    InsecureCertificate,
}

const MAX_FILE: usize = 64 * 1024;

fn filled(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

/// Some versions write fractions of hours.
fn hours(text: &str) -> Option<u32> {
    let hours: f64 = text.parse().ok()?;
    (0.0..1e6).contains(&hours).then_some(hours.ceil() as u32)
}

fn line_values(text: &str) -> Result<Vec<(String, String)>, QcnlError> {
    let mut values = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(QcnlError::Form { what: format!("line {}: `{line}` is not KEY=VALUE", i + 1) });
        };
        // A comment may stand behind a value; no value holds a blank and a hash.
        let value = value.split(" #").next().unwrap_or_default().trim();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        values.push((key.trim().to_owned(), value.to_owned()));
    }
    Ok(values)
}

fn json_values(json: &str) -> Result<Vec<(String, String)>, QcnlError> {
    let map: Map<String, Value> =
        serde_json::from_str(json).map_err(|error| QcnlError::Form { what: error.to_string() })?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(map.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// Blanks comments out, where they do not stand in a string: every URL holds two slashes. Lines stay where they are.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => quoted = !quoted,
            ('\\', Some(_)) if quoted => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            ('/', Some('/')) if !quoted => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            ('/', Some('*')) if !quoted => {
                chars.next();
                let mut last = ' ';
                for c in chars.by_ref() {
                    if c == '\n' {
                        out.push(c);
                    }
                    if (last, c) == ('*', '/') {
                        break;
                    }
                    last = c;
                }
                continue;
            }
            _ => (),
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Intel's package installs it, with its comments.
    const JSON: &str = r#"{
  // *** ATTENTION : This file is in JSON format so the keys are case sensitive. Don't change them.

  //PCCS server address
  "pccs_url": "https://localhost:8081/sgx/certification/v4/"

  // To accept insecure HTTPS certificate, set this option to false
  ,"use_secure_cert": true

  // You can use the Intel PCS or another PCCS to get quote verification collateral. /* " */
  ,"collateral_service": "https://api.trustedservices.intel.com/sgx/certification/v4/"
  //,"pccs_api_version": "3.1"
  /* "a
     block" */
  ,"retry_times": 6
  ,"retry_delay": 10
  ,"local_pck_url": "http://localhost:8081/sgx/certification/v4/"
  ,"pck_cache_expire_hours": 168
  ,"verify_collateral_cache_expire_hours": 168
  ,"local_cache_only": false
  ,"tcb_update_type" : "early"
  ,"custom_request_options" : { "get_cert" : { "headers": { "a": "b" } } }
}
"#;

    const LINES: &str = "# PCCS server address\r\nPCCS_URL=https://localhost:8081/sgx/certification/v3/\r\n\n\
        # To accept insecure HTTPS cert, set this option to FALSE\nUSE_SECURE_CERT=FALSE\nRETRY_TIMES = 6 # six\n";

    #[test]
    fn json() {
        let qcnl = Qcnl::parse(JSON).unwrap();
        assert_eq!(qcnl.pccs_url.as_deref(), Some("https://localhost:8081/sgx/certification/v4/"));
        assert_eq!(qcnl.use_secure_cert, Some(true));
        assert_eq!((qcnl.retry_times, qcnl.retry_delay), (Some(6), Some(Duration::from_secs(10))));
        assert_eq!(qcnl.local_cache_only, Some(false));
        assert!(qcnl.warnings.is_empty(), "{:?}", qcnl.warnings);

        let mut settings = CollateralSettings::default();
        assert!(qcnl.apply(&mut settings).unwrap().is_empty());
        assert_eq!(settings.intel, [Endpoint::parse(Endpoint::INTEL).unwrap().0]);
        assert_eq!(settings.cache.refresh_every, Duration::from_secs(168 * 3600));
        assert_eq!(settings.fetch.tcb_update, TcbUpdate::Early);
        assert_eq!((settings.fetch.retries, settings.fetch.retry_delay), (6, Duration::from_secs(10)));
        let warnings = Qcnl::parse("LOCAL_CACHE_ONLY=true").unwrap().apply(&mut settings).unwrap();
        assert!(matches!(&warnings[..], [one] if one.contains("services are asked")), "{warnings:?}");
    }

    #[test]
    fn lines_and_the_certificate_that_nobody_checks() {
        let qcnl = Qcnl::parse(LINES).unwrap();
        assert_eq!(qcnl.pccs_url.as_deref(), Some("https://localhost:8081/sgx/certification/v3/"));
        assert_eq!((qcnl.use_secure_cert, qcnl.retry_times), (Some(false), Some(6)));

        let mut settings = CollateralSettings::default();
        let refused = qcnl.apply(&mut settings).unwrap_err();
        assert!(matches!(refused, QcnlError::InsecureCertificate), "{refused}");
        assert!(refused.to_string().contains("danger_accept_any_certificate"));
        assert!(settings.intel.is_empty());

        settings.fetch.tls.danger_accept_any_certificate = true;
        let warnings = qcnl.apply(&mut settings).unwrap();
        assert!(warnings[0].contains("version 3"), "{warnings:?}");
        assert_eq!(settings.intel[0].to_string(), "https://localhost:8081");

        let plain = Qcnl::parse("PCCS_URL=http://localhost:8081\nUSE_SECURE_CERT=FALSE").unwrap();
        plain.apply(&mut CollateralSettings::default()).unwrap();
    }

    #[test]
    fn mistakes() {
        for (text, what) in [
            ("PCCS_URL", "line 1"),
            ("{", "EOF"),
            ("{\"use_secure_cert\": \"perhaps\"}", "true or false"),
            ("RETRY_TIMES=many", "a number"),
            ("{\"tcb_update_type\": 1}", "standard or early"),
            ("VERIFY_COLLATERAL_CACHE_EXPIRE_HOURS=-1", "hours"),
        ] {
            let error = Qcnl::parse(text).unwrap_err();
            assert!(matches!(error, QcnlError::Form { .. }) && error.to_string().contains(what), "{text}: {error}");
        }
        let unknown = Qcnl::parse("PCCS_ULR=https://h/").unwrap();
        assert_eq!(unknown.warnings, ["`PCCS_ULR` means nothing here"]);
        let nowhere = Qcnl::parse("PCCS_URL=nowhere").unwrap().apply(&mut CollateralSettings::default()).unwrap_err();
        assert!(matches!(nowhere, QcnlError::Endpoint(_)), "{nowhere}");
        assert_eq!(Qcnl::parse("").unwrap(), Qcnl::default());
        let missing = Qcnl::load(Path::new("/nonexistent/qcnl")).unwrap_err();
        assert!(matches!(missing, QcnlError::Io { .. }));
    }
}

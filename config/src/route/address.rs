//! Where a route listens, and where it connects to. These are two types, so that one is never used as the other.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a route accepts connections: `127.0.0.1:1236`, `[::1]:1236`, `tcp://ADDRESS:PORT` or `unix:///PATH`.
///
/// Port 0 is allowed: the kernel picks one, and the process reports it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Listen {
    /// A TCP address and port.
    Tcp(SocketAddr),
    /// An absolute path, short enough for a socket address.
    Unix(PathBuf),
}

/// Where a route connects to: `tcp://HOST:PORT`, `HOST:PORT` or `unix:///PATH`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// A TCP port of a host.
    Tcp {
        /// A name or an address; an IPv6 address stands here without its brackets.
        host: String,
        /// Invariant: not zero.
        port: u16,
    },
    /// An absolute path, short enough for a socket address.
    Unix(PathBuf),
    /// This process is the workload, and nothing is dialled. The text says in words what it does. Only a program that
    /// is a workload has such a target; no file can name one.
    Process(String),
}

/// What is wrong with an address, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct AddressError {
    /// What is wrong with the text.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl Listen {
    /// Whether both would get the same connections. A wildcard covers every address of its family.
    pub fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(a), Self::Unix(b)) => a == b,
            (Self::Tcp(a), Self::Tcp(b)) => {
                let one_covers = a.ip() == b.ip()
                    || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
                a.port() == b.port() && a.port() != 0 && one_covers
            }
            _ => false,
        }
    }
}

impl Target {
    /// The socket address, if the host is an address and needs no lookup.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { host, port } => Some(SocketAddr::new(host.parse().ok()?, *port)),
            Self::Unix(_) | Self::Process(_) => None,
        }
    }

    /// Whether a connection to it would arrive at `listen`, so that the route would feed itself.
    pub fn arrives_at(&self, listen: &Listen) -> bool {
        match (self, listen) {
            (Self::Unix(a), Listen::Unix(b)) => a == b,
            (Self::Tcp { host, port }, Listen::Tcp(at)) => {
                let ip = if host.eq_ignore_ascii_case("localhost") {
                    Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
                } else {
                    host.parse().ok()
                };
                ip.is_some_and(|ip| {
                    *port == at.port() && (ip == at.ip() || (at.ip().is_unspecified() && ip.is_loopback()))
                })
            }
            _ => false,
        }
    }
}

impl FromStr for Listen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = match split_scheme(text)? {
            Scheme::Unix(path) => return Ok(Self::Unix(path)),
            Scheme::Tcp(rest) => rest,
        };
        if let Ok(address) = rest.parse() {
            return Ok(Self::Tcp(address));
        }
        let (host, port) = split_port(text, rest)?;
        let what = if host.is_empty() {
            format!("`{text}` names no address")
        } else if host.parse::<IpAddr>().is_ok() {
            format!("`{text}` has no valid port")
        } else {
            format!("`{host}` is a name, and a listener needs an address")
        };
        Err(AddressError {
            what,
            remedy: format!("write `0.0.0.0:{port}`, `[::]:{port}` or one address of this machine"),
        })
    }
}

impl FromStr for Target {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = match split_scheme(text)? {
            Scheme::Unix(path) => return Ok(Self::Unix(path)),
            Scheme::Tcp(rest) => rest,
        };
        let (host, port) = split_port(text, rest)?;
        if port == 0 {
            return Err(AddressError {
                what: format!("`{text}` has port 0"),
                remedy: "write the port that the target listens on".into(),
            });
        }
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let valid = match bare {
            Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok() || is_host_name(host),
        };
        if !valid {
            return Err(AddressError {
                what: format!("`{host}` is neither a host name nor an address"),
                remedy: "write `HOST:PORT`, `1.2.3.4:PORT` or `[::1]:PORT`".into(),
            });
        }
        Ok(Self::Tcp { host: bare.unwrap_or(host).to_owned(), port })
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Process(what) => write!(f, "process:{what}"),
        }
    }
}

enum Scheme<'a> {
    Tcp(&'a str),
    Unix(PathBuf),
}

fn split_scheme(text: &str) -> Result<Scheme<'_>, AddressError> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return match text.starts_with('/') {
            true => Err(AddressError {
                what: format!("`{text}` has no scheme"),
                remedy: format!("write `unix://{text}` for a Unix socket"),
            }),
            false => Ok(Scheme::Tcp(text)),
        };
    };
    match scheme {
        "tcp" => Ok(Scheme::Tcp(rest)),
        "unix" if !rest.starts_with('/') || rest.contains('\0') => Err(AddressError {
            what: format!("`{text}` is not an absolute path"),
            remedy: "write three slashes: `unix:///run/NAME.sock`".into(),
        }),
        "unix" if rest.len() > UNIX_PATH_MAX => Err(AddressError {
            what: format!("a socket path of {} bytes is too long", rest.len()),
            remedy: format!("{UNIX_PATH_MAX} bytes are the most that the kernel takes"),
        }),
        "unix" => Ok(Scheme::Unix(rest.into())),
        _ => Err(AddressError {
            what: format!("`{scheme}://` is not known"),
            remedy: "write `tcp://HOST:PORT`, `HOST:PORT` or `unix:///PATH`".into(),
        }),
    }
}

fn split_port<'a>(text: &str, rest: &'a str) -> Result<(&'a str, u16), AddressError> {
    let no_port = |what: String| AddressError { what, remedy: "write `HOST:PORT`, an IPv6 address in brackets".into() };
    let (host, port) = rest.rsplit_once(':').ok_or_else(|| no_port(format!("`{text}` has no port")))?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(no_port(format!("`{text}` is an IPv6 address without brackets")));
    }
    // `u16::from_str` takes a plus sign.
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits);
    Ok((host, port.ok_or_else(|| no_port(format!("`{text}` has no valid port (0 to 65535)")))?))
}

/// A name by RFC 1123 section 2.1. Underscores are allowed, too: container networks and names of services have them. A name whose last label
/// has digits alone is a mistyped address.
pub(super) fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or(host);
    host.len() <= 253 && host.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// `sun_path` of Linux has 108 bytes, one of them for the final zero.
const UNIX_PATH_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    fn listen_error(text: &str) -> String {
        text.parse::<Listen>().unwrap_err().to_string()
    }

    fn target_error(text: &str) -> String {
        text.parse::<Target>().unwrap_err().to_string()
    }

    #[test]
    fn listens() {
        for text in ["tcp://0.0.0.0:1236", "tcp://[::1]:1236", "unix:///run/a.sock", "tcp://127.0.0.1:0"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1:80".parse(), Ok(Listen::Tcp(([127, 0, 0, 1], 80).into())));
        assert!(listen_error("localhost:1236").contains("`localhost` is a name"));
        assert!(listen_error(":1236").contains("write `0.0.0.0:1236`"));
        assert!(listen_error("127.0.0.1").contains("no port"));
        assert!(listen_error("127.0.0.1:99999").contains("no valid port"));
        assert!(listen_error("::1:1236").contains("without brackets"));
        assert!(listen_error("udp://1.2.3.4:5").contains("`udp://` is not known"));
        assert!(listen_error("unix://a.sock").contains("three slashes"));
        assert!(listen_error("/run/a.sock").contains("write `unix:///run/a.sock`"));
        assert!(listen_error(&format!("unix:///{}", "a".repeat(107))).contains("too long"));
    }

    #[test]
    fn targets() {
        for text in ["tcp://db.example:1234", "tcp://1.2.3.4:5", "tcp://[::1]:5", "unix:///run/a.sock", "tcp://my_db:1"]
        {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:5".parse(), Ok(Target::Tcp { host: "::1".into(), port: 5 }));
        assert!(target_error("db:0").contains("port 0"));
        assert!(target_error("db:+1").contains("no valid port"));
        assert!(target_error("a b:1").contains("neither a host name nor"));
        assert!(target_error("1.2.3.456:1").contains("neither a host name nor"));
        assert!(target_error("[::g]:1").contains("neither a host name nor"));
        assert!(target_error("").contains("no port"));
    }

    #[test]
    fn a_wildcard_collides_with_each_address_of_its_family() {
        let listen = |text: &str| text.parse::<Listen>().unwrap();
        assert!(listen("0.0.0.0:1").collides(&listen("127.0.0.1:1")));
        assert!(!listen("0.0.0.0:1").collides(&listen("127.0.0.1:2")));
        assert!(!listen("0.0.0.0:1").collides(&listen("[::1]:1")));
        assert!(!listen("127.0.0.1:0").collides(&listen("127.0.0.1:0")));
        assert!(listen("unix:///a").collides(&listen("unix:///a")));
    }

    #[test]
    fn a_route_to_itself_is_seen() {
        let loops = |target: &str, listen: &str| target.parse::<Target>().unwrap().arrives_at(&listen.parse().unwrap());
        assert!(loops("127.0.0.1:1", "0.0.0.0:1"));
        assert!(loops("localhost:1", "127.0.0.1:1"));
        assert!(loops("unix:///a", "unix:///a"));
        assert!(!loops("127.0.0.1:1", "127.0.0.1:2"));
        assert!(!loops("db:1", "0.0.0.0:1"));
    }
}

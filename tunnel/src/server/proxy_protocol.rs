//! The PROXY protocol, version 2, toward a plain target: who is connected, and what was verified of the path behind.
//!
//! The form is HAProxy's (`doc/proxy-protocol.txt`, sections 2.2 and 2.2.1). One field is ours, in the range for private
//! use: [`VERIFIED`], JSON, as docs/OPERATIONS.md describes it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use inclavared_attest::appraise::{Appraised, CodeIdentity};
use inclavared_attest::policy::{PathEnd, Policy};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::error::Error;
use crate::leg::socket::Socket;
use crate::leg::{Leg, LegFacts};
use crate::path::behind::{Behind, Judged};

/// The type of our field.
pub const VERIFIED: u8 = 0xe0;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const PROXY: u8 = 0x21;
const UNSPEC: u8 = 0x00;
const TCP_IPV4: u8 = 0x11;
const TCP_IPV6: u8 = 0x21;
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const UNIQUE_ID: u8 = 0x05;

/// The header for a connection of `client`, with the `facts` of an attested leg. `policy` is what its path was judged under.
pub fn header(client: &Leg, facts: Option<&LegFacts>, behind: &Behind, policy: Option<&Arc<Policy>>) -> Vec<u8> {
    let mut body = Vec::new();
    let family = match &**client.sink.socket() {
        Socket::Tcp(stream) => addresses(stream.peer_addr().ok().zip(stream.local_addr().ok()), &mut body),
        Socket::Unix(_) => UNSPEC,
    };
    if let Some(facts) = facts {
        facts.alpn.iter().for_each(|alpn| field(ALPN, alpn, &mut body));
        facts.sni.iter().for_each(|name| field(AUTHORITY, name.as_bytes(), &mut body));
    }
    if let Some(session) = &behind.session {
        field(UNIQUE_ID, session.as_bytes(), &mut body);
    }
    field(VERIFIED, verified(behind, policy).to_string().as_bytes(), &mut body);
    let len = u16::try_from(body.len()).expect("a path has 16 hops at most, and they fit");
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXY, family]);
    header.extend(len.to_be_bytes());
    header.extend(body);
    header
}

/// Sends it before anything else.
pub async fn send(socket: &mut Socket, header: &[u8], limit: Duration) -> Result<(), Error> {
    let what = "telling the target who is connected";
    let sent = tokio::time::timeout(limit, socket.write_all(header)).await;
    sent.map_err(|_| Error::Deadline { what, limit })?.map_err(Error::peer_io)
}

fn addresses(ends: Option<(SocketAddr, SocketAddr)>, body: &mut Vec<u8>) -> u8 {
    let Some((source, own)) = ends else { return UNSPEC };
    let family = match (source.ip().to_canonical(), own.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(own)) => {
            body.extend([source.octets(), own.octets()].concat());
            TCP_IPV4
        }
        (source, own) => {
            let octets = |ip| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            body.extend([octets(source), octets(own)].concat());
            TCP_IPV6
        }
    };
    body.extend(source.port().to_be_bytes());
    body.extend(own.port().to_be_bytes());
    family
}

fn field(kind: u8, value: &[u8], body: &mut Vec<u8>) {
    // An SNI has 255 bytes at most, and 16 hops fit many times.
    let len = u16::try_from(value.len()).unwrap_or_default();
    body.push(kind);
    body.extend(len.to_be_bytes());
    body.extend(&value[..usize::from(len)]);
}

/// The client first, whoever is behind it after it.
fn verified(behind: &Behind, policy: Option<&Arc<Policy>>) -> Value {
    let policy = policy.map(|policy| policy.name.as_str());
    match &behind.judged {
        Judged::Nothing => json!({ "v": 1, "verified": "nothing", "hops": [] }),
        Judged::Client(client) => {
            let role = client.evidence.claims().hop().map_or("", |hop| &hop.chain_role);
            json!({
                "v": 1,
                "verified": "client",
                "policy": policy,
                "compared": client.verdict.compared,
                "simulated": client.verdict.simulated,
                "status": client.verdict.status,
                "begins": "unknown",
                "hops": [hop(role, &client.appraised)],
            })
        }
        Judged::Path(path) => {
            let begins = match (path.end, &path.legacy) {
                (PathEnd::Terminal(kind), _) => kind.name(),
                (PathEnd::Legacy, _) => "unknown",
            };
            let legacy = path.legacy.iter().map(|peer| {
                let role = peer.evidence.claims().hop().map_or("", |hop| &hop.chain_role);
                hop(role, &peer.appraised)
            });
            let hops = path.hops.iter().map(|h| hop(&h.role, &h.appraised)).chain(legacy);
            json!({
                "v": 1,
                "verified": "path",
                "policy": policy,
                "compared": path.compared,
                "simulated": path.simulated,
                "status": path.worst,
                "begins": begins,
                "hops": hops.collect::<Vec<_>>(),
            })
        }
    }
}

fn hop(role: &str, appraised: &Appraised) -> Value {
    let code = match &appraised.code {
        CodeIdentity::Sgx(sgx) => hex::encode(sgx.mrenclave),
        CodeIdentity::Tdx(tdx) => hex::encode(tdx.mrtd),
        CodeIdentity::SevSnp(snp) => hex::encode(snp.measurement),
        CodeIdentity::None => String::new(),
    };
    json!({ "role": role, "tee": appraised.tee, "code": code, "status": appraised.tcb_status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_one_family() {
        let family = |source: &str, own: &str| {
            let mut body = Vec::new();
            let family = addresses(Some((source.parse().unwrap(), own.parse().unwrap())), &mut body);
            (family, body)
        };
        let (v4, body) = family("192.0.2.1:258", "[::ffff:192.0.2.2]:3");
        assert_eq!((v4, body), (TCP_IPV4, vec![192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 0, 3]));
        let (v6, body) = family("[2001:db8::1]:1", "[::1]:2");
        assert_eq!((v6, body.len(), &body[32..]), (TCP_IPV6, 36, &[0, 1, 0, 2][..]));
    }
}

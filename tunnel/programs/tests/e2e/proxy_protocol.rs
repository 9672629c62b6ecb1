//! What a plain application is told of the path behind its client: the PROXY protocol with a field of ours.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use serde_json::Value;

use crate::five::policy_file;
use crate::harness::World;
use crate::stream::{Backend, connect, read_all};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What an application reads: the header in its parts, and then the stream.
struct Told {
    family: u8,
    source: Ipv4Addr,
    session: Vec<u8>,
    alpn: Vec<u8>,
    verified: Value,
    stream: Vec<u8>,
}

fn read_header(stream: &mut TcpStream) -> io::Result<Told> {
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    assert_eq!((&head[..12], head[12]), (SIGNATURE, 0x21));
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[14], head[15]]))];
    stream.read_exact(&mut body)?;
    let mut told = Told {
        family: head[13],
        source: Ipv4Addr::new(body[0], body[1], body[2], body[3]),
        session: Vec::new(),
        alpn: Vec::new(),
        verified: Value::Null,
        stream: Vec::new(),
    };
    let mut fields = &body[12..];
    while let [kind, high, low, rest @ ..] = fields {
        let (value, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        match kind {
            0x01 => told.alpn = value.to_vec(),
            0x05 => told.session = value.to_vec(),
            0xe0 => told.verified = serde_json::from_slice(value).unwrap(),
            other => panic!("field {other:#x}"),
        }
        fields = rest;
    }
    assert!(fields.is_empty());
    Ok(told)
}

fn application() -> Backend<Told> {
    Backend::new(|mut stream: TcpStream| {
        let mut told = read_header(&mut stream).unwrap();
        told.stream = read_all(&mut stream).unwrap();
        stream.write_all(b"thanks").unwrap();
        told
    })
}

fn through(world: &World, address: &str) {
    let forward = world.forward(address, "--once");
    let mut stream = connect(forward.address);
    stream.write_all(b"question").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream).unwrap(), b"thanks");
    let receipt = forward.receipt();
    // The header is no part of the stream.
    assert_eq!((&receipt["close"], &receipt["bytes_up"]), (&"complete".into(), &8.into()), "{receipt:#}");
}

#[test]
fn names_every_hop_that_was_verified() {
    let world = World::new();
    let application = application();
    let policy = policy_file(&world, "callers", "measurements = \"not-compared\"\nterminal = \"plain\"\nmin_hops = 2");
    let flags = format!("--sim-tee tdx --mutual --policy {policy} --xfer {} --proxy-protocol v2", application.address);
    let chain = world.chain_to(3, &flags);
    let (_, path) = world.attest(chain.address(), "");
    through(&world, chain.address());
    let told = application.result();
    assert_eq!((told.family, told.source), (0x11, Ipv4Addr::LOCALHOST));
    assert_eq!((told.alpn.as_slice(), told.session.len()), (&b"inclavared/1"[..], 32));
    assert_eq!(told.stream, b"question");
    let verified = &told.verified;
    assert_eq!(
        (&verified["v"], &verified["verified"], &verified["policy"]),
        (&1.into(), &"path".into(), &"test".into())
    );
    assert_eq!((&verified["simulated"], &verified["compared"]), (&true.into(), &false.into()));
    assert_eq!((&verified["begins"], &verified["status"]), (&"plain".into(), &"UpToDate".into()));
    let hops = verified["hops"].as_array().unwrap();
    assert_eq!(hops.len(), 2, "{verified:#}");
    for (hop, (role, position)) in hops.iter().zip([("relay", 2), ("ingress", 1)]) {
        let shown = &path["hops"][position - 1];
        assert_eq!((&hop["role"], &hop["tee"]), (&role.into(), &"sgx".into()), "{verified:#}");
        assert_eq!(hop["code"], shown["measurement"]["mrenclave"], "{verified:#}");
    }
}

#[test]
fn says_where_nothing_was_verified() {
    let world = World::new();
    let application = application();
    let flags = format!("--sim-tee tdx --xfer {} --proxy-protocol v2", application.address);
    let chain = world.chain_to(2, &flags);
    through(&world, chain.address());
    let told = application.result();
    assert_eq!(told.stream, b"question");
    assert_eq!(told.verified, serde_json::json!({ "v": 1, "verified": "nothing", "hops": [] }));
}

#[test]
fn is_refused_where_the_target_is_attested() {
    let world = World::new();
    let file = world.path("wrong.toml");
    let text = "[[route]]\nname = \"a\"\nlisten = \"127.0.0.1:0\"\nxfer = \"h:1\"\nupstream = \"attested\"\n\
                downstream = { tls = \"attested\", policy = \"genuine-only\" }\nproxy_protocol = \"v2\"\n";
    std::fs::write(&file, text).unwrap();
    let checked = crate::harness::run(&mut crate::harness::command("inclavared", &format!("check {}", file.display())));
    assert_ne!(checked.code, Some(0));
    assert!(checked.err.contains("route[1].proxy_protocol: the target is attested"), "{}", checked.err);
}

//! Files that do not serve at the start, and files that change while the process runs.

use std::fs;
use std::time::Duration;

use inclavared_tunnel::server::process::StartError;

use crate::support::{DOWNSTREAM, Folder, UPSTREAM, client, echo_server, talk};

/// The process looks at its files at most once a second.
const LOOK: Duration = Duration::from_millis(1100);

#[test]
fn what_does_not_serve_is_said_at_the_start() {
    let folder = Folder::new();
    fs::write(folder.file("empty.pem"), "").unwrap();
    let secret = fs::read_to_string(folder.file("server.key")).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    fs::write(folder.file("cut.key"), format!("-----BEGIN PRIVATE KEY-----\n{secret}")).unwrap();
    for (upstream, file, what) in [
        (UPSTREAM.replace("server.pem", "gone.pem"), "gone.pem", "cannot be read: No such file"),
        (UPSTREAM.replace("server.pem", "empty.pem"), "empty.pem", "holds no certificate; write certificates in PEM"),
        (UPSTREAM.replace("server.key", "client.key"), "client.key", "not the key of "),
        (UPSTREAM.replace("server.key", "cut.key"), "cut.key", "holds no private key"),
        (UPSTREAM.replace("server.key", "server.pem"), "server.pem", "holds no private key"),
        (UPSTREAM.replace("ca.pem", "empty.pem"), "empty.pem", "holds no certificate"),
    ] {
        let text = folder.config("127.0.0.1:9".parse().unwrap(), &upstream, DOWNSTREAM);
        let Err(StartError::Pki { route, source }) = folder.start(&text) else { panic!("{upstream} serves") };
        assert_eq!(route, "pki");
        assert_eq!(source.file, folder.file(file));
        assert!(source.to_string().contains(what), "{source}");
        assert!(!source.to_string().contains(secret), "{source}");
    }
}

#[test]
fn new_certificates_are_served_and_broken_ones_are_not() {
    let folder = Folder::new();
    let target = echo_server(&folder, "server");
    let running = folder.start(&folder.config(target, UPSTREAM, DOWNSTREAM)).unwrap();
    let served = || {
        let mut client = client(&folder, running.address, Some("client"));
        assert_eq!(talk(&mut client, b"hello").unwrap(), b"hello");
        client.conn.peer_certificates().unwrap()[0].clone()
    };
    let first = served();

    // Half of a renewal: the certificate is there, its key is not yet.
    let old_key = fs::read(folder.file("server.key")).unwrap();
    let ca = rcgen_ca(&folder);
    folder.issue(&ca, "renewed", "localhost");
    fs::rename(folder.file("renewed.pem"), folder.file("server.pem")).unwrap();
    std::thread::sleep(LOOK);
    assert_eq!(served(), first);
    assert_eq!(fs::read(folder.file("server.key")).unwrap(), old_key);

    // The other half.
    fs::rename(folder.file("renewed.key"), folder.file("server.key")).unwrap();
    std::thread::sleep(LOOK);
    let error = talk(&mut client(&folder, running.address, Some("other-client")), b"x").unwrap_err();
    // The client's own roots do not know the new authority yet: what it met is the new certificate.
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");

    // Gone altogether: the last that served still does.
    fs::remove_file(folder.file("server.key")).unwrap();
    std::thread::sleep(LOOK);
    let error = talk(&mut client(&folder, running.address, Some("client")), b"x").unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    running.stop();
}

/// An authority of its own, so that the file `ca.pem` stays as the peers know it.
fn rcgen_ca(folder: &Folder) -> rcgen::Issuer<'static, rcgen::KeyPair> {
    folder.authority("third-ca")
}

//! Who is let in, which target is believed, and what each side is told.

use crate::support::{DOWNSTREAM, Folder, UPSTREAM, client, echo_server, talk};

fn text() -> Vec<u8> {
    (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn bytes_cross_and_both_ends_are_heard() {
    let folder = Folder::new();
    let target = echo_server(&folder, "server");
    let running = folder.start(&folder.config(target, UPSTREAM, DOWNSTREAM)).unwrap();
    // One record and what follows the handshake at once; then more than a buffer.
    for text in [b"hello".to_vec(), text()] {
        let back = talk(&mut client(&folder, running.address, Some("client")), &text).unwrap();
        assert!(back == text, "{} bytes came back", back.len());
        let len = text.len() as u64;
        assert_eq!(running.ended(), Ok((len, len)));
    }
    running.stop();
}

#[test]
fn plain_on_the_other_side_is_served() {
    let folder = Folder::new();
    let target = echo_server(&folder, "server");
    let back = folder.start(&folder.config(target, "\"plain\"", DOWNSTREAM)).unwrap();
    let front = folder.start(&folder.config(back.address, UPSTREAM, "\"plain\"")).unwrap();
    assert_eq!(talk(&mut client(&folder, front.address, Some("client")), b"hello").unwrap(), b"hello");
    assert_eq!((front.ended(), back.ended()), (Ok((5, 5)), Ok((5, 5))));
    front.stop();
    back.stop();
}

#[test]
fn a_client_without_the_right_certificate_is_told() {
    let folder = Folder::new();
    let target = echo_server(&folder, "server");
    let running = folder.start(&folder.config(target, UPSTREAM, DOWNSTREAM)).unwrap();
    for (who, alert, cause) in [
        (None, "CertificateRequired", "peer sent no certificates"),
        (Some("other-client"), "UnknownCA", "UnknownIssuer"),
    ] {
        let refused = talk(&mut client(&folder, running.address, who), b"hello").unwrap_err();
        assert!(refused.to_string().contains(alert), "{refused}");
        let ended = running.ended().unwrap_err();
        assert!(ended.starts_with("TLS handshake: ") && ended.contains(cause), "{ended}");
    }
    running.stop();
}

#[test]
fn clients_need_no_certificate_unless_an_authority_is_named() {
    let folder = Folder::new();
    let target = echo_server(&folder, "server");
    let upstream = r#"{ tls = "pki", cert = "server.pem", key = "server.key" }"#;
    let running = folder.start(&folder.config(target, upstream, DOWNSTREAM)).unwrap();
    assert_eq!(talk(&mut client(&folder, running.address, None), b"hello").unwrap(), b"hello");
    running.stop();
}

#[test]
fn a_target_that_is_not_the_named_one_is_not_spoken_to() {
    let folder = Folder::new();
    for (server, downstream, cause) in [
        ("other-server", DOWNSTREAM.to_owned(), "UnknownIssuer"),
        ("server", DOWNSTREAM.replace("\"localhost\"", "\"db.example\""), "not valid for name"),
        // The name is the target's host unless one is written.
        ("server", DOWNSTREAM.replace("server_name = \"localhost\", ", ""), "not valid for name"),
        ("server", DOWNSTREAM.replace(", cert = \"client.pem\", key = \"client.key\"", ""), "CertificateRequired"),
    ] {
        let target = echo_server(&folder, server);
        let running = folder.start(&folder.config(target, UPSTREAM, &downstream)).unwrap();
        let refused = talk(&mut client(&folder, running.address, Some("client")), b"hello").unwrap_err();
        assert!(refused.to_string().contains("alert"), "{refused}");
        let ended = running.ended().unwrap_err();
        assert!(ended.contains(cause), "{ended}");
        running.stop();
    }
}

/// A peer that hangs up without a close_notify may have been cut off: nobody is told that all is well.
#[test]
fn a_client_that_hangs_up_is_a_truncation() {
    let folder = Folder::new();
    let target = echo_server(&folder, "server");
    let running = folder.start(&folder.config(target, UPSTREAM, DOWNSTREAM)).unwrap();
    let mut client = client(&folder, running.address, Some("client"));
    std::io::Write::write_all(&mut client, b"hello").unwrap();
    let mut back = [0; 5];
    std::io::Read::read_exact(&mut client, &mut back).unwrap();
    client.sock.shutdown(std::net::Shutdown::Write).unwrap();
    let ended = running.ended().unwrap_err();
    assert!(ended.contains("cut short"), "{ended}");
    running.stop();
}

//! The handshake and the record layer over streams in memory.

use std::sync::Arc;

use bytes::BytesMut;
use inclavared_wire::tls::{self, Established, TlsError};
use tokio::time::timeout;

use crate::io::{End, Weird, pair};
use crate::support::{Event, Identity, LABEL, PATIENCE, Session, pattern, provider, server_name};

const STEADY: Weird = Weird { seed: 0, piece: 1 << 20, pending: 0, fails_at: None, room: 1 << 20 };

/// From a byte at a time to much at once, with many wake-ups for nothing, and with little room on the way. Room for a
/// ChangeCipherSpec there must be, as every socket has: a client sends it while the server is still sending.
fn kinds() -> Vec<Weird> {
    let mut kinds = Vec::new();
    for (piece, pending, room) in
        [(1, 0, 1 << 20), (1, 2, 16), (3, 3, 64), (700, 2, 1000), (5000, 4, 20_000), (1 << 20, 2, 1 << 20)]
    {
        kinds.extend((0..4).map(|seed| Weird { seed, piece, pending, fails_at: None, room }));
    }
    kinds
}

/// Our client and our server, each at its end.
async fn meet(
    identity: &Identity,
    (mut near, mut far): (End, End),
) -> (Result<Established, TlsError>, Result<Established, TlsError>, End, End) {
    let provider = provider();
    let (client, server) = (identity.mutual_client(&provider), identity.mutual_server(&provider));
    let work = async {
        let connecting = async {
            let made = tls::connect(&mut near, Arc::new(client), server_name()).await;
            (made, near)
        };
        let accepting = async {
            let mut received = BytesMut::new();
            // As a listener does: the ClientHello first.
            let made = match tls::read_client_hello(&mut far, &mut received).await {
                Ok(_) => tls::accept(&mut far, Arc::new(server), received).await,
                Err(error) => Err(error),
            };
            (made, far)
        };
        // A side that has failed lets go of its end, so that the other learns of it.
        let hang_up = |(made, end): (Result<_, _>, End)| match made {
            Ok(made) => (Ok(made), Some(end)),
            Err(error) => (Err(error), None),
        };
        tokio::join!(async { hang_up(connecting.await) }, async { hang_up(accepting.await) })
    };
    let ((client, near), (server, far)) = timeout(PATIENCE, work).await.expect("a handshake ends, whatever happens");
    let stand_in = || pair(STEADY, STEADY).0;
    (client, server, near.unwrap_or_else(stand_in), far.unwrap_or_else(stand_in))
}

#[tokio::test]
async fn a_handshake_takes_any_cut() {
    let identity = Identity::new();
    for weird in kinds() {
        let (client, server, ..) = meet(&identity, pair(weird, Weird { seed: weird.seed + 100, ..weird })).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        let exported = [&client, &server].map(|side| {
            let mut out = [0; 32];
            side.exporter.derive(LABEL, b"", &mut out);
            out
        });
        assert_eq!(exported[0], exported[1], "{weird:?}");
        assert_eq!(server.peer_certificates, client.peer_certificates);
    }
}

/// Both sides end with an error of their own, at whatever call of either the transport fails.
#[tokio::test]
async fn a_handshake_ends_at_every_error() {
    let identity = Identity::new();
    let weird = Weird { piece: 700, pending: 3, ..STEADY };
    for clients in [true, false] {
        let mut fails_at = 0;
        loop {
            let failing = Weird { fails_at: Some(fails_at), ..weird };
            let ends = if clients { pair(failing, weird) } else { pair(weird, failing) };
            let (client, server, ..) = meet(&identity, ends).await;
            let (failed, other) = if clients { (&client, &server) } else { (&server, &client) };
            match failed {
                Ok(_) => break,
                Err(TlsError::Io(_)) => {}
                Err(error) => panic!("call {fails_at}: {error:?}"),
            }
            // The other side may be done by then; otherwise it has met the end of the stream.
            let ended = matches!(other, Ok(_) | Err(TlsError::Io(_) | TlsError::Closed | TlsError::ClosedAtOnce));
            assert!(ended, "call {fails_at}: {other:?}");
            fails_at += 1;
            assert!(fails_at < 1000, "a handshake has an end");
        }
        assert!(fails_at > 4, "it took {fails_at} calls alone");
    }
}

/// Megabytes would take long at a byte a call: as many records as make the keys change, both ways at once.
#[tokio::test]
async fn records_take_any_cut() {
    const SIZE: usize = 60_000;
    let identity = Identity::new();
    for weird in kinds() {
        let (client, server, near, far) = meet(&identity, pair(weird, Weird { seed: weird.seed + 7, ..weird })).await;
        let (mut one, mut two) = (Session::new(near, client.unwrap()), Session::new(far, server.unwrap()));
        let data = pattern(SIZE);
        let work = async {
            let sending = async {
                one.sealer.lower_limit(10);
                for chunk in data.chunks(1000) {
                    one.write(chunk).await;
                }
                one.close_notify().await;
                one
            };
            let hearing = async {
                let got = two.read_exact(SIZE).await;
                (got, two.read().await, two)
            };
            tokio::join!(sending, hearing)
        };
        let (one, (got, end, mut two)) = timeout(PATIENCE, work).await.unwrap();
        assert!(got == data, "{weird:?}: what arrived is not what was sent");
        assert_eq!(end, Event::CloseNotify, "{weird:?}");
        // One direction has ended; the other goes on.
        let mut one = one;
        let back = async { tokio::join!(two.write(b"and back"), one.read()) };
        assert_eq!(timeout(PATIENCE, back).await.unwrap().1, Event::Data(b"and back".to_vec()), "{weird:?}");
    }
}

/// What arrived whole before the error is there, and after it nothing is taken for an end.
#[tokio::test]
async fn an_error_is_no_end() {
    let identity = Identity::new();
    for fails_after in [0, 1, 2, 3, 5, 8, 13, 40] {
        let (client, server, near, far) = meet(&identity, pair(STEADY, STEADY)).await;
        let calls = far.calls();
        let (mut one, mut two) = (Session::new(near, client.unwrap()), Session::new(far, server.unwrap()));
        two.io.fail_after(fails_after, 100);
        one.write(&pattern(3000)).await;
        one.close_notify().await;
        let mut got = Vec::new();
        let end = loop {
            match timeout(PATIENCE, two.read()).await.unwrap() {
                Event::Data(data) => got.extend(data),
                end => break end,
            }
        };
        assert!(pattern(3000).starts_with(&got));
        let all = got.len() == 3000;
        assert!(end == Event::Truncated || (all && end == Event::CloseNotify), "{fails_after}: {end:?}, {}", got.len());
        assert!(two.io.calls() > calls || fails_after == 0);
    }
}

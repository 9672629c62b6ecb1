//! Handshakes whose bytes are changed, or cut, on the way: an error that has a type, never a panic, and never two sides
//! that believe different things.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use inclavared_wire::tls::{self, Established, TlsError};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::{Identity, LABEL, provider, server_name};

/// What happens to the stream that flows to us.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip { at: usize, mask: u8 },
    Cut { at: usize },
}

/// A damaged length makes a side wait for bytes that never come.
const WAIT: Duration = Duration::from_millis(700);

/// The handshake under `damage`; the other side's exporter value where it was done as well.
async fn run(
    serve: bool,
    damage: Damage,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> (Option<Result<Established, TlsError>>, Option<[u8; 32]>) {
    let (mut near, from) = tokio::io::duplex(1 << 16);
    let (to, far) = tokio::io::duplex(1 << 16);
    let relay = tokio::spawn(relay(from, to, damage));
    let ours = timeout(WAIT, async {
        let done = if serve {
            tls::accept(&mut near, server.clone(), BytesMut::new()).await
        } else {
            tls::connect(&mut near, client.clone(), server_name()).await
        };
        if done.is_err() {
            let _ = near.shutdown().await;
        }
        done
    });
    let theirs = timeout(WAIT, async {
        let export = [0; 32];
        if serve {
            let peer = TlsConnector::from(client.clone()).connect(server_name(), far).await.ok()?;
            peer.get_ref().1.export_keying_material(export, LABEL, Some(b"")).ok()
        } else {
            let peer = TlsAcceptor::from(server.clone()).accept(far).await.ok()?;
            peer.get_ref().1.export_keying_material(export, LABEL, Some(b"")).ok()
        }
    });
    let (ours, theirs) = tokio::join!(ours, theirs);
    relay.abort();
    (ours.ok(), theirs.ok().flatten())
}

/// Carries bytes both ways, and damages those that flow to `us`.
async fn relay(us: DuplexStream, peer: DuplexStream, damage: Damage) {
    let ((mut from_us, mut to_us), (mut from_peer, mut to_peer)) = (tokio::io::split(us), tokio::io::split(peer));
    let honest = async { tokio::io::copy(&mut from_us, &mut to_peer).await };
    let damaged = async {
        let (mut seen, mut some) = (0, vec![0; 4096]);
        loop {
            let read = from_peer.read(&mut some).await?;
            if read == 0 {
                break;
            }
            let mut end = read;
            match damage {
                Damage::Flip { at, mask } if (seen..seen + read).contains(&at) => some[at - seen] ^= mask,
                Damage::Cut { at } if at < seen + read => end = at.saturating_sub(seen),
                _ => {}
            }
            to_us.write_all(&some[..end]).await?;
            seen += read;
            if end < read {
                break;
            }
        }
        to_us.shutdown().await
    };
    let _ = tokio::join!(honest, damaged);
}

#[tokio::test]
async fn damaged_handshakes_have_typed_errors() {
    let identity = Identity::new();
    let mut server = identity.mutual_server(&provider());
    let mut client = identity.mutual_client(&provider());
    server.alpn_protocols = vec![b"inclavared/1".to_vec()];
    client.alpn_protocols = vec![b"inclavared/1".to_vec()];
    let (server, client) = (Arc::new(server), Arc::new(client));
    let mut damages = Vec::new();
    for at in (0..260).chain((260..760).step_by(7)) {
        damages.push(Damage::Flip { at, mask: 1 << (at % 8) });
        if at % 5 == 0 {
            damages.push(Damage::Cut { at });
        }
    }
    let (mut refused, mut waited, mut done) = (0, 0, 0);
    for serve in [true, false] {
        let mut all = JoinSet::new();
        for damage in damages.clone() {
            let run = run(serve, damage, server.clone(), client.clone());
            all.spawn(async move { (damage, run.await) });
        }
        while let Some(finished) = all.join_next().await {
            // A panic of ours ends here.
            let (damage, (ours, theirs)) = finished.unwrap();
            match ours {
                None => waited += 1,
                Some(Ok(established)) => {
                    // A bit that nobody authenticates (a record's version), or one after the handshake: then both
                    // sides hold the same secrets.
                    let mut export = [0; 32];
                    established.exporter.derive(LABEL, b"", &mut export);
                    assert!(theirs.is_none_or(|theirs| theirs == export), "serve {serve}: {damage:?}");
                    done += 1;
                }
                Some(Err(TlsError::Internal(what))) => panic!("serve {serve}: {damage:?}: {what}"),
                Some(Err(_)) => refused += 1,
            }
        }
    }
    assert!(refused > 500, "{refused} refused, {waited} waited, {done} done");
    assert!(done < 20, "{refused} refused, {waited} waited, {done} done");
}

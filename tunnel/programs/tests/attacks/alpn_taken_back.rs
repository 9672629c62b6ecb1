//! `legacy = "deny"`: a client offers a protocol in its first ClientHello, has the server ask for another, and offers none
//! in that one. What counts is what the handshake agreed on, not what was offered first.

use crate::harness::{World, tcp};
use crate::stream::connect;
use crate::tls13::{self, Met, Offer};

const NO_APPLICATION_PROTOCOL: u8 = 120;

fn meet(legacy: &str, first: Offer, second: Offer) -> Met {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = world.route(
        "front",
        &format!(
            "listen = \"127.0.0.1:0\"\nxfer = \"{}\"\nupstream = \"attested\"\nlegacy = \"{legacy}\"\n\
             downstream = {{ tls = \"mutual\", policy = \"any\" }}\n",
            workload.address
        ),
    );
    let met = tls13::connect(connect(tcp(&hop.address)), &first, &second);
    match met {
        // Bytes have to come back before it counts as served.
        Met::Established(mut session) => {
            let _ = session.send(b"who are you?");
            match session.receive() {
                Some(Ok(answer)) => {
                    assert_eq!(answer, b"who are you?");
                    Met::Established(session)
                }
                Some(Err(alert)) => Met::Alert(alert),
                None => Met::Closed,
            }
        }
        ended => ended,
    }
}

fn offer(alpn: &[&'static [u8]], key_share: bool) -> Offer {
    Offer { alpn: alpn.to_vec(), key_share }
}

#[test]
fn is_denied_as_one_that_never_offered_it() {
    for first in [&[b"h2".as_slice()][..], &[b"inclavared/1"], &[]] {
        let met = meet("deny", offer(first, false), offer(&[], true));
        assert!(matches!(met, Met::Alert(NO_APPLICATION_PROTOCOL)), "{first:?} first: {met:?}");
    }
    let met = meet("deny", offer(&[], false), offer(&[b"h2"], true));
    assert!(matches!(met, Met::Alert(NO_APPLICATION_PROTOCOL)), "h2 later: {met:?}");
    let met = meet("deny", offer(&[], true), offer(&[], true));
    assert!(matches!(met, Met::Alert(NO_APPLICATION_PROTOCOL)), "none: {met:?}");
}

/// The same client is served where such clients are: the test's own TLS is not what is refused.
#[test]
fn is_served_where_the_route_allows_it() {
    let met = meet("enforce", offer(&[b"h2"], false), offer(&[], true));
    assert!(matches!(met, Met::Established(_)), "{met:?}");
}

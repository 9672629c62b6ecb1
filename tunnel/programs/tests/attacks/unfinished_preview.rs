//! A client announces a frame of half a MiB that it may not send, and never finishes it: each such stream held as much.
//!
//! Refused is the header: nothing of the payload comes, and nobody waits for it.

use inclavared_attest::Reason;
use inclavared_tunnel::leg::DialledLeg;
use inclavared_wire::frame::{FrameKind, MAX_CONTROL, MAX_START, header};

use crate::harness::World;
use crate::protocol::Client;
use crate::strangers::{address, hop, leg_from, stream_from};

/// The header alone goes out, as the whole of a record.
fn announce(client: &Client, leg: &mut DialledLeg, kind: FrameKind, len: usize) {
    client.run(async {
        leg.sink.queue_record(&header(kind, len)).unwrap();
        leg.sink.flush().await.unwrap();
    });
}

#[test]
fn what_a_client_may_not_send_is_refused_by_its_header_in_every_state() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = hop(&world, "hop", workload.tcp(), "");
    let client = Client::new(&world);
    type Reach = fn(&Client, &mut DialledLeg);
    let waiting: Reach = |_, _| ();
    let previewed: Reach = |client, leg| drop(client.open(leg).unwrap());
    let open: Reach = |client, leg| {
        let path = client.open(leg).unwrap();
        client.start(leg, &path);
    };
    for (state, reach) in [("waiting", waiting), ("previewed", previewed), ("open", open)] {
        let never = [FrameKind::Preview, FrameKind::Refresh, FrameKind::Trailer].map(|kind| (kind, MAX_CONTROL));
        // A stranger has no path behind it that would take so much.
        for (kind, len) in never.into_iter().chain([(FrameKind::Start, MAX_START)]) {
            let mut leg = leg_from(&client, address(1), hop.tcp()).unwrap();
            reach(&client, &mut leg);
            announce(&client, &mut leg, kind, len);
            let fault = client.fault(&mut leg);
            assert_eq!(fault.code, Reason::Protocol, "{state}: {kind:?}: {fault:?}");
        }
    }
    let mut after = stream_from(&client, address(1), hop.tcp()).unwrap();
    // What may come, may come in parts.
    announce(&client, &mut after, FrameKind::Data, 1);
    client.run(async {
        after.sink.queue_record(b"y").unwrap();
        after.sink.flush().await.unwrap();
    });
    assert_eq!(client.receive(&mut after), (FrameKind::Data, b"y".to_vec()));
}

//! What a verifier holds already is not sent again, and nothing is missing for it.

use inclavared_attest::path::{Check, Open, Trailer, TrailerLimits, no_known_blobs};
use inclavared_attest::{Digest, Reason};
use inclavared_tunnel::error::{Error, Refused};
use inclavared_tunnel::leg::{DialledLeg, Leg};
use inclavared_tunnel::trust::appraise::{Due, PathCheck, PathContext};
use inclavared_tunnel::trust::known_evidence::Held;
use inclavared_wire::frame::FrameKind;

use crate::harness::World;
use crate::program::PATIENCE;
use crate::protocol::{Client, refusal};

/// Sends that OPEN and waits for the PREVIEW.
fn preview(client: &Client, leg: &mut Leg, open: &Open) -> Result<bytes::Bytes, Error> {
    client.send(leg, FrameKind::Open, &open.encode());
    client.run(leg.expect(FrameKind::Preview, "the PREVIEW", PATIENCE)).map(|frame| frame.payload)
}

#[test]
fn a_second_opening_is_small_and_proves_as_much() {
    let world = World::new();
    let chain = world.chain(3);
    let client = Client::new(&world);
    let open = |leg: &mut DialledLeg| {
        let path = client.open(leg).unwrap();
        let evidence: Vec<_> = path.path.hops.iter().map(|hop| hop.evidence.digest()).collect();
        (path.preview.len(), evidence, path)
    };
    let (first, evidence, _) = open(&mut client.leg(chain.hops[0].tcp()));
    let mut leg = client.leg(chain.hops[0].tcp());
    let (second, again, path) = open(&mut leg);
    assert_eq!((evidence.len(), &evidence), (3, &again));
    // The first hop's evidence came with its certificate, so that of two was sent at first; records alone at last.
    assert!(first > 2 * 3000 && second < 3 * 1200, "{first} bytes, then {second}");
    client.start(&mut leg, &path);
    client.send(&mut leg, FrameKind::Data, b"bytes");
    assert_eq!(client.receive(&mut leg), (FrameKind::Data, b"bytes".to_vec()));
}

#[test]
fn what_was_named_is_held_whatever_becomes_of_the_cache() {
    let world = World::new();
    let chain = world.chain(3);
    let client = Client::new(&world);
    let path = client.open(&mut client.leg(chain.hops[0].tcp())).unwrap();
    let first = path.path.hops[0].kid;
    let seen = &client.node.side.verifier.seen;
    let held = seen.hold(first, &path.context.evidence, &*client.node.side.verifier.appraiser);
    assert_eq!(held.digests().len(), 3);

    // Another process has never seen any of it: its cache is as good as lost.
    let other = Client::new(&world);
    let forgotten = path.path.hops[2].evidence.digest();
    assert!(other.node.side.verifier.appraiser.recall(&forgotten, inclavared_attest::Timestamp::now()).is_none());
    let mut leg = other.leg(chain.hops[0].tcp());
    let open = Open { have: held.digests(), ..other.asking() };
    let preview = preview(&other, &mut leg, &open).unwrap();
    let facts = &leg.facts;
    let context = PathContext {
        nonce: open.nonce,
        leg: facts.leg.id,
        own: None,
        open: Open::digest(&open.encode()),
        held,
        ..path.context
    };
    let verify = |held: Held| {
        let context = PathContext { held, ..context.clone() };
        other.run(other.node.side.verifier.path(PathCheck { context, trailer: preview.clone(), due: Due::Preview }))
    };
    assert_eq!(verify(context.held.clone()).unwrap().hops.len(), 3);
    match verify(Held::default()) {
        Err(Error::Refused(Refused::Path(error))) => {
            assert_eq!((error.check, error.reason()), (Check::BlobMissing, Reason::PathChain), "{error}");
        }
        found => panic!("{found:?}"),
    }
}

#[test]
fn names_that_nobody_knows_and_names_twice_mean_nothing() {
    let world = World::new();
    let chain = world.chain(2);
    let client = Client::new(&world);
    let known = client.open(&mut client.leg(chain.hops[0].tcp())).unwrap();
    let below = known.path.hops[1].evidence.digest().0;
    let foreign: Vec<_> = (0..30u8).map(|n| Digest::of(&[n])).collect();
    for (have, blobs) in [
        (foreign.clone(), 2),
        (vec![below; 32], 1),
        ([&foreign[..], &[below, below]].concat(), 1),
        (vec![Digest::from_bytes([0; 32]); 32], 2),
    ] {
        let mut leg = client.leg(chain.hops[0].tcp());
        let preview = preview(&client, &mut leg, &Open { have, ..client.asking() }).unwrap();
        let lacking = Trailer::decode(&preview, &TrailerLimits::DEFAULT, &|name| {
            known.path.hops.iter().find(|hop| hop.evidence.digest() == *name).map(|hop| hop.evidence.blob().into())
        });
        assert_eq!(lacking.unwrap().records().len(), 2);
        // Two records are far smaller than one piece of evidence.
        assert_eq!(preview.len() / 3500, blobs, "{} bytes", preview.len());
        assert_eq!(Trailer::decode(&preview, &TrailerLimits::DEFAULT, &no_known_blobs).is_ok(), blobs == 2);
    }
    let mut leg = client.leg(chain.hops[0].tcp());
    let too_many = Open { have: vec![below; 33], ..client.asking() };
    assert_eq!(refusal(preview(&client, &mut leg, &too_many)), Reason::Protocol);
}

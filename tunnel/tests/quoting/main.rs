//! Fresh quotes: the three levels, quotes that many legs share, and paths that are renewed while they live.

#![allow(clippy::unwrap_used)] // what a helper of a test cannot do fails the test

mod lies;
mod queue;
mod world;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use inclavared_attest::Reason;
use inclavared_attest::path::{Challenge, Close, Path};
use inclavared_tunnel::error::Error;
use inclavared_tunnel::path::client;
use inclavared_wire::frame::FrameKind;

use world::{World, ping};

const AT_ONCE: Duration = Duration::ZERO;

fn fresh(path: &Path) -> Vec<bool> {
    path.hops.iter().map(|hop| hop.fresh_at.is_some()).collect()
}

#[test]
fn a_path_opens_at_each_level() {
    // One quote of the relay covers both of its legs.
    let levels = [("key", false, false, 0), ("key+audit", false, true, 2), ("quote", true, true, 2)];
    for (level, shown, started, quotes) in levels {
        let policy = format!("binding = \"{level}\"");
        let world = World::new();
        let device = world.device(AT_ONCE);
        let hops = world.chain(&policy, &device);
        let verifier = world.verifier(&policy);
        let own = device.quotes.load(Ordering::SeqCst);
        verifier.runtime.block_on(async {
            let verified =
                client::verify(&verifier.node.side, &hops[0].target(), &verifier.policy, None).await.unwrap();
            assert_eq!(fresh(verified.path()), [shown; 2], "{level}");
            let (leg, opened) = verified.start(&verifier.node.side).await.unwrap();
            assert_eq!(fresh(&opened.path), [started; 2], "{level}");
            leg.close().await;
        });
        assert_eq!(device.quotes.load(Ordering::SeqCst) - own, quotes, "{level}");
        hops.into_iter().for_each(world::Hop::stop);
    }
}

/// At `key+audit` a stream may be over before its quotes are made: its receipt waits for them.
#[test]
fn a_stream_of_one_byte_is_audited_too() {
    for (of_verifier, of_hops) in [("key+audit", "key+audit"), ("key+audit", "key"), ("key", "key+audit")] {
        let world = World::new();
        let device = world.device(Duration::from_millis(100));
        let hops = world.chain(&format!("binding = \"{of_hops}\""), &device);
        let egress = world.hop("egress", &hops[0].address, &format!("binding = \"{of_verifier}\""), &device);
        let mut stream = egress.stream();
        stream.write_all(b"1").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back, b"1");
        let above = world.ended("egress");
        assert_eq!(above.error, None);
        let path = above.path.unwrap();
        assert!(matches!(path.close, Some(Close::Complete { .. })), "{:?}", path.close);
        let relay = world.ended("relay");
        assert_eq!(relay.error, None);
        assert_eq!(fresh(&path), [of_verifier == "key+audit"; 2]);
        assert_eq!(fresh(&relay.path.unwrap()), [true]);
        egress.stop();
        hops.into_iter().for_each(world::Hop::stop);
    }
}

/// As slow as the TDX of a cloud: about 25 quotes a second.
#[test]
fn many_paths_share_the_quotes_of_a_slow_device() {
    const PATHS: usize = 200;
    const TAKES: Duration = Duration::from_millis(40);
    let world = World::new();
    let device = world.device(TAKES);
    let workload = world.hop("workload", "127.0.0.1:9", "binding = \"quote\"", &device);
    let verifier = world.verifier("binding = \"quote\"");
    let own = device.quotes.load(Ordering::SeqCst);
    let begun = Instant::now();
    verifier.runtime.block_on(async {
        let target = workload.target();
        let verified = (0..PATHS).map(|_| async {
            let verified = client::verify(&verifier.node.side, &target, &verifier.policy, None).await.unwrap();
            assert_eq!(fresh(verified.path()), [true]);
            verified.leave().await;
        });
        all(verified).await;
    });
    let (took, alone) = (begun.elapsed(), TAKES * PATHS as u32);
    let quotes = device.quotes.load(Ordering::SeqCst) - own;
    assert_eq!(device.overlaps.load(Ordering::SeqCst), 0, "one quote is in flight");
    assert!(quotes * 2 < PATHS, "{quotes} quotes for {PATHS} paths");
    assert!(took * 2 < alone, "{took:?} for what takes {alone:?} one by one, {quotes} quotes");
    workload.stop();
}

/// Polls all of them until all are done.
async fn all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// The byte at a place of the stream.
fn byte(place: usize) -> u8 {
    (place.wrapping_mul(2_654_435_761) >> 13) as u8
}

#[test]
fn refreshes_in_mid_stream_lose_and_double_no_byte() {
    let world = World::new();
    let device = world.device(Duration::from_millis(40));
    let hops = world.chain("max_path_age = \"3s\"", &device);
    let egress = world.hop("egress", &hops[0].address, "max_path_age = \"3s\"", &device);
    let mut stream = egress.stream();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let begun = Instant::now();
        let mut sent = 0;
        while begun.elapsed() < Duration::from_secs(6) {
            let block: Vec<u8> = (sent..sent + 100_003).map(byte).collect();
            writer.write_all(&block).unwrap();
            sent += block.len();
        }
        writer.shutdown(Shutdown::Write).unwrap();
        sent
    });
    let (mut back, mut block) = (0, vec![0; 1 << 16]);
    loop {
        let read = stream.read(&mut block).unwrap_or_else(|error| {
            let ended = ["egress", "relay", "workload"].map(|role| world.ended(role).error);
            panic!("{error} after {back} bytes: {ended:?}")
        });
        if read == 0 {
            break;
        }
        if let Some(at) = block[..read].iter().enumerate().position(|(i, found)| *found != byte(back + i)) {
            panic!("another byte at {}", back + at);
        }
        back += read;
    }
    let sent = writing.join().unwrap_or_else(|_| {
        let ended = ["egress", "relay", "workload"].map(|role| world.ended(role).error);
        panic!("{back} bytes came back: {ended:?}")
    });
    assert_eq!(back, sent);
    let above = world.ended("egress");
    assert_eq!(above.error, None);
    let path = above.path.unwrap();
    let total = sent as u64;
    assert!(matches!(path.close, Some(Close::Complete { counters }) if (counters.up, counters.down) == (total, total)));
    // The last is the receipt's; two or more came before it.
    assert!(path.hops.iter().all(|hop| hop.seq >= 3), "{path:?}");
    assert_eq!(fresh(&path), [true; 2]);
    egress.stop();
    hops.into_iter().for_each(world::Hop::stop);
}

#[test]
fn a_path_lives_by_its_refreshes_and_ends_when_a_hop_cannot_quote() {
    let world = World::new();
    let (good, device) = (world.device(AT_ONCE), world.device(AT_ONCE));
    let policy = "max_path_age = \"3s\"";
    let workload = world.hop("workload", "127.0.0.1:9", policy, &device);
    let relay = world.hop("relay", &workload.address, policy, &good);
    let egress = world.hop("egress", &relay.address, policy, &good);
    let mut stream = egress.stream();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        ping(&mut stream).unwrap_or_else(|error| panic!("{error} after {:?}", begun.elapsed()));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    device.broken.store(true, Ordering::SeqCst);
    let broken = Instant::now();
    while ping(&mut stream).is_ok() {
        assert!(broken.elapsed() < Duration::from_secs(10), "the path outlived its age");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    for role in ["egress", "relay", "workload"] {
        let (reason, line) = world.ended(role).error.unwrap();
        assert_eq!(reason, Reason::PathAge, "{role}: {line}");
    }
    for hop in [egress, relay, workload] {
        hop.stop();
    }
}

#[test]
fn a_client_that_challenges_too_soon_is_refused() {
    let world = World::new();
    let device = world.device(Duration::from_millis(100));
    let workload = world.hop("workload", "127.0.0.1:9", "", &device);
    let verifier = world.verifier("");
    let challenge = || Challenge::generate().unwrap().encode();
    for wait in [false, true] {
        verifier.runtime.block_on(async {
            let verified =
                client::verify(&verifier.node.side, &workload.target(), &verifier.policy, None).await.unwrap();
            let (mut leg, _) = verified.start(&verifier.node.side).await.unwrap();
            leg.send(FrameKind::Challenge, &challenge()).await.unwrap();
            if wait {
                leg.expect(FrameKind::Refresh, "the REFRESH", Duration::from_secs(5)).await.unwrap();
            }
            leg.send(FrameKind::Challenge, &challenge()).await.unwrap();
            let error = leg.expect(FrameKind::Refresh, "the FAULT", Duration::from_secs(5)).await.unwrap_err();
            let expected = if wait { "sooner than a second" } else { "before the REFRESH" };
            assert!(
                matches!(&error, Error::Fault(fault) if fault.code == Reason::Protocol
                    && fault.text.as_deref().is_some_and(|text| text.contains(expected))),
                "{error:?}"
            );
        });
    }
    workload.stop();
}

#[test]
fn a_device_that_fails_ends_the_opening_at_level_quote() {
    let world = World::new();
    let device = world.device(AT_ONCE);
    let workload = world.hop("workload", "127.0.0.1:9", "", &device);
    let verifier = world.verifier("binding = \"quote\"");
    device.broken.store(true, Ordering::SeqCst);
    let target = workload.target();
    let verify = client::verify(&verifier.node.side, &target, &verifier.policy, None);
    let error = verifier.runtime.block_on(verify).unwrap_err();
    assert!(matches!(&error, Error::Fault(fault) if fault.code == Reason::BindingLevel), "{error:?}");
    let (reason, line) = world.ended("workload").error.unwrap();
    assert_eq!(reason, Reason::BindingLevel);
    assert!(line.contains("no fresh quote over this leg") && line.contains("broken"), "{line}");
    workload.stop();
}

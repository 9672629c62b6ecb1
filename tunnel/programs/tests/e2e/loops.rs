//! Hops that hand a path round in a circle: refused as a loop, at once.

use std::time::{Duration, Instant};

use crate::harness::World;

/// Hops in a circle, over Unix sockets: their addresses are known before they are bound.
fn circle(count: usize) -> (Option<i32>, serde_json::Value) {
    let world = World::new();
    let socket = |n: usize| format!("unix://{}", world.path(&format!("{}.sock", n % count)).display());
    let _hops: Vec<_> = (0..count)
        .map(|n| {
            let text = format!(
                r#"
                listen = "{}"
                xfer = "{}"
                upstream = "attested"
                downstream = {{ tls = "mutual", policy = "any" }}
                "#,
                socket(n),
                socket(n + 1)
            );
            world.route(&format!("hop-{n}"), &text)
        })
        .collect();
    let begun = Instant::now();
    let outcome = world.attest(&socket(0), "");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    outcome
}

#[test]
fn of_two_hops() {
    let (code, failure) = circle(2);
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"loop".into()), "{failure:#}");
}

#[test]
fn of_three_hops() {
    let (code, failure) = circle(3);
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"loop".into()), "{failure:#}");
}

#[test]
fn of_a_hop_with_itself_do_not_start() {
    let world = World::new();
    let line = format!("--listen 127.0.0.1:4321 --xfer localhost:4321 {}", world.sim());
    let refused = crate::harness::run(&mut crate::harness::command("inclavared", &line));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("what the process itself listens on"), "{}", refused.err);
}

//! Clients open paths, take their PREVIEW and say no more: they used up the places of a hop, and of the hop behind it,
//! for everybody.
//!
//! A path that waits for its START has nobody's turn; the oldest of the busiest holder gives way. Behind an admitted hop
//! the strangers' paths count apart from all others (OPEN 16).

use crate::harness::World;
use crate::protocol::Client;
use crate::strangers::{address, hop, leg_from, stream_from};

const SILENT: usize = 48;

#[test]
fn they_hold_up_nobody_here_and_nobody_behind() {
    let world = World::new();
    let workload = world.workload("--echo");
    let tables = "[limits]\nopenings = 16\n[deadlines]\npreview_to_start = \"10m\"\nopening_turn = \"20s\"";
    let second = hop(&world, "second", workload.tcp(), tables);
    let first = hop(&world, "first", second.tcp(), tables);
    let client = Client::new(&world);
    let silent: Vec<_> = (0..SILENT)
        .map(|at| {
            let number = u8::try_from(at % 4).unwrap() + 1;
            let mut leg = leg_from(&client, address(number), first.tcp()).unwrap();
            client.open(&mut leg).unwrap();
            leg
        })
        .collect();
    for to in [&first, &second] {
        stream_from(&client, address(9), to.tcp()).expect("a newcomer is held up");
        let (code, path) = world.attest(&to.address, "");
        assert_eq!(code, Some(0), "{path:#}");
    }
    drop(silent);
}

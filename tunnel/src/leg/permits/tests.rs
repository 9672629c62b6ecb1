use super::*;

const WAIT: Duration = Duration::from_secs(2);

fn from(last: u8) -> Holder {
    Holder::stranger(Who::Address(std::net::Ipv4Addr::new(192, 0, 2, last).into()))
}

fn hop(byte: u8) -> Holder {
    Holder::admitted(Who::Hop(inclavared_attest::KeyId::from_bytes([byte; 32])))
}

fn gate(all: usize, per_holder: usize, kept: u8) -> Arc<Gate> {
    Gate::new("openings", Places::new(all, per_holder, kept))
}

fn limit<T: std::fmt::Debug>(refused: Result<T, Error>) -> usize {
    match refused {
        Err(Error::Overload { limit, .. }) => limit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_in_all_and_per_holder() {
    let gate = gate(3, 2, 0);
    let one = gate.take(from(1)).unwrap();
    let _two = gate.take(from(1)).unwrap();
    assert_eq!(limit(gate.take(from(1))), 2);
    let three = gate.take(from(2)).unwrap();
    assert_eq!(limit(gate.take(from(2))), 3);
    drop(one);
    assert_eq!(gate.taken(), 2);
    drop(gate.take(from(1)).unwrap());
    assert_eq!(gate.taken(), 2);
    assert_eq!(gate.state().holders.len(), 2);
    drop(three);
    assert_eq!(gate.state().holders.len(), 1, "a holder that has nothing under way is forgotten");
}

#[test]
fn a_share_is_kept_for_those_that_were_admitted() {
    let gate = gate(8, 8, 25);
    let _strangers: Vec<_> = (0..6).map(|i| gate.take(from(i)).unwrap()).collect();
    assert_eq!(limit(gate.take(from(7))), 6);
    let theirs = [gate.take(hop(1)).unwrap(), gate.take(hop(1)).unwrap()];
    assert_eq!(limit(gate.take(hop(2))), 8);
    drop(theirs);
    assert_eq!(limit(gate.take(from(7))), 6, "strangers have had their share");
    // So small a gate keeps none, and strangers have a place in every one.
    assert_eq!(Places::new(2, 2, 25).strangers, 2);
    assert_eq!(Places::new(1, 1, 90).strangers, 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_waits_for_its_own_and_takes_no_others_place() {
    let gate = gate(3, 2, 0);
    let held = [gate.take(from(1)).unwrap(), gate.take(from(1)).unwrap()];
    assert_eq!(limit(gate.turn_within(from(1), WAIT).await), 2);
    let mut waiting = std::pin::pin!(gate.turn(from(1)));
    assert!(tokio::time::timeout(WAIT, &mut waiting).await.is_err());
    let other = gate.turn_within(from(2), WAIT).await.unwrap();
    let [first, _second] = held;
    drop(other);
    drop(first);
    assert!(waiting.await.is_ok());
}

/// In which order they get their turn; each gives it back at once.
async fn order(gate: &Arc<Gate>, holders: &[Holder]) -> Vec<Holder> {
    let mut all = Vec::new();
    for holder in holders {
        all.push(*holder);
    }
    let held = gate.take(hop(0)).unwrap();
    let done = std::cell::RefCell::new(Vec::new());
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
            let done = std::rc::Rc::new(done);
            let mut waiting = tokio::task::JoinSet::new();
            for holder in all {
                let (gate, done) = (Arc::clone(gate), std::rc::Rc::clone(&done));
                waiting.spawn_local(async move {
                    let permit = gate.turn(holder).await.unwrap();
                    done.borrow_mut().push(holder);
                    drop(permit);
                });
                tokio::task::yield_now().await;
            }
            drop(held);
            while waiting.join_next().await.is_some() {}
            done.take()
        })
        .await
}

#[tokio::test]
async fn holders_take_turns_whatever_each_of_them_asks_for() {
    let gate = gate(1, 1, 0);
    let (crowd, late, hop) = (from(1), from(2), hop(1));
    let got = order(&gate, &[crowd, crowd, crowd, crowd, late, hop, hop]).await;
    let place = |holder| got.iter().position(|got| *got == holder).unwrap();
    assert!(place(late) <= 3, "{got:?}");
    assert!(place(hop) <= 1, "{got:?}");
    assert_eq!(got.len(), 7);
    assert!(gate.state().holders.is_empty() && gate.taken() == 0);
}

#[tokio::test]
async fn who_gives_up_leaves_nothing_behind() {
    let gate = gate(1, 1, 0);
    let held = gate.take(from(1)).unwrap();
    for _ in 0..100 {
        let turn = gate.turn(from(2));
        tokio::select! {
            biased;
            _ = turn => panic!("no place is free"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(gate.state().holders.values().map(|line| line.waiting.len()).sum::<usize>(), 0);
    // A place that is granted to somebody who has just left goes to the next.
    let mut gone = Box::pin(gate.turn(from(2)));
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut gone).await.is_err());
    let mut next = Box::pin(gate.turn(from(3)));
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut next).await.is_err());
    drop(held);
    drop(gone);
    drop(next.await.unwrap());
    assert!(gate.state().holders.is_empty() && gate.taken() == 0);
}

//! The path behind a client, which a workload verifies under its own policy before a byte reaches the application.

use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::Value;

use crate::five::policy_file;
use crate::harness::{Chain, World};
use crate::stream::{connect, read_all};

/// `shelter` -> ingress -> relay -> workload, whose policy is `text`.
fn chain(world: &World, name: &str, text: &str) -> Chain {
    let policy = policy_file(world, name, text);
    world.chain_to(3, &format!("--echo --mutual --policy {policy}"))
}

fn started(world: &World, chain: &Chain, flags: &str) -> (Option<i32>, Value) {
    world.attest(chain.address(), &format!("--start {flags}"))
}

#[track_caller]
fn assert_refused(world: &World, chain: &Chain, flags: &str, code: &str, says: &str) -> Value {
    let (status, failure) = started(world, chain, flags);
    let error = &failure["error"];
    assert_eq!((status, &error["code"]), (Some(1), &code.into()), "{failure:#}");
    assert_eq!(error["reported_by"], 3, "{failure:#}");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("hop 3 says: the path behind the client: "), "{message}");
    assert!(message.contains(says), "{message}");
    // The verifier has shown no evidence: it does not learn what would have been right.
    assert_eq!(error["expected"], Value::Null, "{failure:#}");
    error.clone()
}

fn mrenclave(path: &Value, position: usize) -> &str {
    path["hops"][position - 1]["measurement"]["mrenclave"].as_str().unwrap()
}

#[test]
fn is_verified_hop_by_hop() {
    let world = World::new();
    let (_, path) = world.attest(world.chain(3).address(), "");
    let wrong = "ab".repeat(32);
    let policy = |relay: &str, ingress: &str| {
        format!(
            "order = [\"relay\", \"ingress\"]\nterminal = \"plain\"\n\
             [[policy.test.hop]]\nrole = \"relay\"\nmrenclave = \"{relay}\"\n\
             [[policy.test.hop]]\nrole = \"ingress\"\nmrenclave = \"{ingress}\"\n"
        )
    };
    let right = chain(&world, "right", &policy(mrenclave(&path, 2), mrenclave(&path, 1)));
    let (code, verified) = started(&world, &right, "");
    assert_eq!((code, &verified["ok"]), (Some(0), &true.into()), "{verified:#}");
    assert_eq!(verified["receipt"]["close"], "complete", "{verified:#}");
    // Two hops away from the workload, and next to nobody that it has met.
    let ingress = chain(&world, "ingress", &policy(mrenclave(&path, 2), &wrong));
    assert_eq!(world.attest(ingress.address(), "").0, Some(0), "the verifier's own view of it is good");
    let error = assert_refused(&world, &ingress, "", "measurement", "hop 2: policy (`test`, measurement");
    assert!(error["found"].as_str().unwrap().contains(&mrenclave(&path, 1)[..16]), "{error:#}");
    // Its client is refused before the path is opened.
    let relay = chain(&world, "relay", &policy(&wrong, mrenclave(&path, 1)));
    let (status, failure) = world.attest(relay.address(), "");
    let error = &failure["error"];
    assert_eq!((status, &error["code"]), (Some(1), &"measurement".into()), "{failure:#}");
    assert_eq!((&error["reported_by"], &error["expected"]), (&3.into(), &Value::Null), "{failure:#}");
}

#[test]
fn has_a_shape_and_a_beginning() {
    let world = World::new();
    let any = "measurements = \"not-compared\"\n";
    let order = chain(&world, "order", &format!("{any}terminal = \"plain\"\norder = [\"ingress\", \"relay\"]"));
    assert_refused(&world, &order, "", "shape", "order of roles");
    let short = chain(&world, "short", &format!("{any}terminal = \"plain\"\nmin_hops = 3"));
    assert_refused(&world, &short, "", "shape", "number of hops");
    let long = chain(&world, "long", &format!("{any}terminal = \"plain\"\nmax_hops = 1"));
    assert_refused(&world, &long, "", "path-form", "number of hops");
    // Nobody without evidence, unless it says so.
    let attested = chain(&world, "attested", any);
    let error = assert_refused(&world, &attested, "", "shape", "end of the path");
    assert_eq!(error["found"], "plain", "{error:#}");
    // A verifier that shows its own is the beginning of the path, and one of its hops.
    let (code, verified) = started(&world, &attested, "--mutual --attester sim");
    assert_eq!((code, &verified["receipt"]["close"]), (Some(0), &"complete".into()), "{verified:#}");
    let named = chain(&world, "named", &format!("{any}order = [\"relay\", \"ingress\", \"verifier\"]"));
    assert_eq!(started(&world, &named, "--mutual --attester sim").0, Some(0));
    assert_refused(&world, &named, "", "shape", "order of roles");
}

#[test]
fn is_bound_by_fresh_quotes_where_the_workload_asks_for_them() {
    let world = World::new();
    let quoted = "measurements = \"not-compared\"\nbinding = \"quote\"";
    let chain = chain(&world, "workload", quoted);
    let policy = world.policy(quoted);
    let (code, verified) = started(&world, &chain, &format!("--mutual --attester sim --policy {policy}"));
    assert_eq!((code, &verified["receipt"]["close"]), (Some(0), &"complete".into()), "{verified:#}");
    assert_refused(&world, &chain, "--mutual --attester sim", "binding-level", "binding level");
}

#[test]
fn reaches_no_application_when_it_is_refused() {
    let world = World::new();
    let application = TcpListener::bind("127.0.0.1:0").unwrap();
    let policy = policy_file(&world, "workload", "measurements = \"not-compared\"\nmin_hops = 3");
    let address = application.local_addr().unwrap();
    let chain = world.chain_to(3, &format!("--sim-tee tdx --xfer {address} --mutual --policy {policy}"));
    let forward = world.forward(chain.address(), "--once");
    let mut stream = connect(forward.address);
    let _ = std::io::Write::write_all(&mut stream, b"secret");
    assert!(read_all(&mut stream).is_err());
    let receipt = forward.receipt();
    assert_eq!((&receipt["close"], &receipt["error"]["code"]), (&"unreceipted".into(), &"shape".into()), "{receipt:#}");
    assert_eq!(forward.program.finish(crate::program::PATIENCE).code, Some(5));
    application.set_nonblocking(true).unwrap();
    assert_eq!(application.accept().map(|_| ()).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
}

#[test]
fn is_judged_by_a_hop_in_the_middle_too() {
    let world = World::new();
    let workload = world.workload("--echo");
    let relay = |name: &str, order: &str| {
        let text = format!(
            r#"
            listen = "127.0.0.1:0"
            xfer = "{}"
            upstream = {{ tls = "mutual", policy = "callers" }}
            downstream = {{ tls = "mutual", policy = "any" }}
            [policy.callers]
            allow_simulated = true
            identity = "any-genuine"
            measurements = "not-compared"
            terminal = "plain"
            order = [{order}]
            "#,
            workload.address
        );
        world.route(name, &text)
    };
    let chains = [relay("right", "\"relay\", \"ingress\""), relay("wrong", "\"relay\", \"edge\"")].map(|judge| {
        let relay = world.hop(&judge.address, "--role relay");
        let ingress = world.hop(&relay.address, "--role ingress");
        (ingress, relay, judge)
    });
    let (code, verified) = world.attest(&chains[0].0.address, "--start");
    assert_eq!((code, &verified["receipt"]["close"]), (Some(0), &"complete".into()), "{verified:#}");
    let (code, failure) = world.attest(&chains[1].0.address, "--start");
    assert_eq!((code, &failure["error"]["code"]), (Some(1), &"shape".into()), "{failure:#}");
    assert_eq!(failure["error"]["reported_by"], 3, "{failure:#}");
}

//! Stock clients of a hop: they are served after it has verified the path itself, and told when they are not.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};

use crate::certificates::Certificates;
use crate::for_every_stack;
use crate::harness::{Hop, World, tcp};
use crate::program::Program;
use crate::stacks::{Act, Client, End, Heard, Stack};
use crate::stream::{Backend, Random, read_all, reset, sha256};

const BULK: usize = 3 << 20;
const SOME: usize = 300_000;

for_every_stack! {
    megabytes_cross_both_ways,
    the_workload_ends_first,
    the_client_ends_first,
    a_refusal_after_the_handshake_is_an_alert,
    a_stream_that_breaks_is_no_end,
}

/// A hop with a route for each way in which it meets stock clients, all before one workload.
struct Entrances {
    world: World,
    certificates: Certificates,
    workload: Hop,
    hop: Program,
}

/// How a route meets its clients.
const ATTESTED: &str = "attested";
const PKI: &str = "pki";
const MUTUAL: &str = "mutual";

impl Entrances {
    /// `workload` are flags of `enclave-tls-server`.
    fn new(workload: &str) -> Self {
        let world = World::new();
        let certificates = Certificates::new(&world);
        let workload = world.workload(workload);
        let hop = world.routes("hop", &routes(&certificates, &workload.address));
        Self { world, certificates, workload, hop }
    }

    fn address(&self, route: &str) -> SocketAddr {
        tcp(&self.hop.address(route))
    }

    /// A client of that route, which shows the certificate that is asked for.
    fn client(&self, stack: Stack, route: &str, act: Act, input: &[u8]) -> Heard {
        let pki = route == PKI;
        let (ca, own) = (self.certificates.ca.as_path(), &self.certificates.client);
        let (ca, own) = (Some(ca).filter(|_| pki), Some(own).filter(|_| pki));
        stack.client(&Client { world: &self.world, address: self.address(route), ca, own }, act, input)
    }

    /// Waits for what the hop says of a connection.
    fn hop_says(&self, route: &str, words: &[&str]) {
        let route = format!("route=\"{route}\"");
        self.hop.err.wait(&words.join(", "), |line| {
            (line.contains(&route) && words.iter().all(|word| line.contains(word))).then_some(())
        });
    }
}

fn routes(certificates: &Certificates, target: &str) -> String {
    let Certificates { ca, server, .. } = certificates;
    let pki =
        format!("{{ tls = \"pki\", cert = {:?}, key = {:?}, client_ca = {ca:?} }}", server.certificate, server.key);
    let mutual = "{ tls = \"mutual\", policy = \"any\" }";
    [(ATTESTED, "\"attested\""), (PKI, &pki), (MUTUAL, mutual)]
        .map(|(name, upstream)| {
            format!(
                "[[route]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\nxfer = \"{target}\"\nupstream = {upstream}\n\
                 downstream = {mutual}\n"
            )
        })
        .concat()
}

fn megabytes_cross_both_ways(stack: Stack) {
    let entrances = Entrances::new("--mutual --echo");
    let sent = Random::bytes(1, BULK);
    for route in [ATTESTED, PKI] {
        let heard = entrances.client(stack, route, Act::Trade, &sent);
        assert_eq!((heard.bytes.len(), sha256(&heard.bytes)), (BULK, sha256(&sent)), "{route}: {}", heard.said);
        if stack.half_closes() {
            assert_eq!(heard.end, End::CloseNotify, "{route}: {}", heard.said);
        }
        entrances.hop_says(route, &["closed ", &format!("up={BULK} down={BULK} "), "close=\"complete\""]);
    }
    // The workload itself serves them, too, where it does not ask for their evidence.
    let workload = entrances.world.workload("--echo");
    let address = tcp(&workload.address);
    let client = Client { world: &entrances.world, address, ca: None, own: None };
    let heard = stack.client(&client, Act::Trade, &sent);
    assert_eq!(sha256(&heard.bytes), sha256(&sent), "{}", heard.said);
    workload.program.err.wait("the end", |line| line.contains("close=\"complete\"").then_some(()));
}

fn the_workload_ends_first(stack: Stack) {
    let backend = Backend::new(|mut stream| {
        stream.write_all(&Random::bytes(2, SOME)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream).map(|bytes| bytes.len()).map_err(|error| error.kind())
    });
    let entrances = Entrances::new(&format!("--mutual --xfer {}", backend.address));
    for route in [ATTESTED, PKI] {
        let heard = entrances.client(stack, route, Act::Listen, b"");
        assert_eq!(heard.end, End::CloseNotify, "{route}: {}", heard.said);
        assert_eq!(sha256(&heard.bytes), sha256(&Random::bytes(2, SOME)), "{route}: {}", heard.said);
        if stack.answers_the_end() {
            assert_eq!(backend.result(), Ok(0), "{route}");
            entrances.hop_says(route, &["closed ", &format!("up=0 down={SOME} "), "close=\"complete\""]);
        } else {
            // It hangs up without a close_notify of its own: to the hop that is a stream cut short, and it says so.
            backend.result().unwrap_err();
            entrances.hop_says(route, &["failed ", &format!("up=0 down={SOME} "), "reason=\"truncated\""]);
        }
    }
}

fn the_client_ends_first(stack: Stack) {
    if !stack.half_closes() {
        return;
    }
    let backend = Backend::new(|mut stream| {
        let came = read_all(&mut stream).unwrap();
        // Only now, after the client's end: the answer.
        stream.write_all(&Random::bytes(3, SOME)).unwrap();
        sha256(&came)
    });
    let entrances = Entrances::new(&format!("--mutual --xfer {}", backend.address));
    let sent = Random::bytes(4, SOME);
    for route in [ATTESTED, PKI] {
        let heard = entrances.client(stack, route, Act::Talk, &sent);
        assert_eq!(heard.end, End::CloseNotify, "{route}: {}", heard.said);
        assert_eq!(sha256(&heard.bytes), sha256(&Random::bytes(3, SOME)), "{route}: {}", heard.said);
        assert_eq!(backend.result(), sha256(&sent), "{route}");
        entrances.hop_says(route, &["closed ", &format!("up={SOME} down={SOME} "), "close=\"complete\""]);
    }
}

/// In TLS 1.3 a client's handshake is done before the server has judged its certificate, or anything behind itself.
fn a_refusal_after_the_handshake_is_an_alert(stack: Stack) {
    let entrances = Entrances::new("--mutual --echo");
    let Entrances { world, certificates, .. } = &entrances;
    let refused = |route: &str, own, alert: &str, reason: &str| {
        let client = Client { world, address: entrances.address(route), ca: None, own };
        let heard = stack.client(&client, Act::Listen, b"");
        assert_eq!((heard.end, heard.bytes), (End::Alert(alert.to_owned()), Vec::new()), "{}", heard.said);
        entrances.hop_says(route, &[reason]);
    };
    // A certificate that is right in its form, and shows no evidence.
    refused(MUTUAL, Some(&certificates.self_signed), "access denied", "reason=\"no-evidence\"");
    // None at all where one is demanded.
    refused(MUTUAL, None, "certificate required", "reason=\"tls\"");
    refused(PKI, None, "certificate required", "reason=\"tls\"");
    // One that no authority signed which the route names.
    let alert = if stack.heeds_authorities() { "certificate required" } else { "unknown ca" };
    refused(PKI, Some(&certificates.self_signed), alert, "reason=\"tls\"");

    // The client is welcome, and what lies behind the hop is not: it is of another platform.
    let elsewhere = World::new();
    let strange = Certificates::new(&elsewhere);
    let hop = elsewhere.routes("hop", &routes(&strange, &entrances.workload.address));
    for (route, own) in [(ATTESTED, None), (PKI, Some(&strange.client))] {
        let client = Client { world, address: tcp(&hop.address(route)), ca: None, own };
        let heard = stack.client(&client, Act::Listen, b"");
        assert_eq!((heard.end, heard.bytes), (End::Alert("access denied".into()), Vec::new()), "{}", heard.said);
    }
}

fn a_stream_that_breaks_is_no_end(stack: Stack) {
    let backend = Backend::new(|mut stream| {
        stream.write_all(&Random::bytes(5, SOME)).unwrap();
        reset(stream);
    });
    let entrances = Entrances::new(&format!("--mutual --xfer {}", backend.address));
    for route in [ATTESTED, PKI] {
        let heard = entrances.client(stack, route, Act::Listen, b"");
        assert_eq!(heard.end, End::Alert("internal error".into()), "{route}: {}", heard.said);
        entrances.hop_says(route, &["failed "]);
    }
}

//! Peers that follow the certificate rules of rats-tls and librats: accepted in both roles under a policy, and refused by
//! name where they lie. `programs/rats.py` is that peer, and the verifier of our own certificates.

use std::net::SocketAddr;
use std::process::Command;

use crate::certificates::Pair;
use crate::harness::{Hop, World};
use crate::running::Running;
use crate::stacks::{Act, Client, End, Serves, Stack, absent, find_all, programs};
use crate::stream::{Random, connect, echo, read_all, sha256};

const SIZE: usize = 300_000;

/// The kinds of keys: rats-tls' default, Gramine's choice, and rats-tls' other one.
const KEYS: [&str; 3] = ["p256", "p384", "rsa3072"];

/// What each lie is refused for, and a word of the cause.
const LIES: [(&str, &str, &str); 9] = [
    ("key-hash", "binding", "the evidence speaks of key"),
    ("hash-algorithm", "evidence-form", "hash algorithm 7 (SHA-384)"),
    ("claims", "binding", "the quote was not made over these claims"),
    ("no-claim", "evidence-form", "the claim `pubkey-hash` is missing"),
    ("real-tag", "tee", "expected evidence for the verifier `sim`, found an Intel quote"),
    ("report-tag", "evidence-form", "evidence with tag 0xea61"),
    ("padding", "evidence-form", "64 bytes after the end of the quote"),
    ("signed-by-other", "quote-signature", "expected signed by the PCK key"),
    ("user-data-tail", "binding", "the second half of the quote's user data is not zero"),
];

/// A simulated platform, something of ours whose certificate can be had, and the program.
pub(crate) struct Field {
    pub(crate) world: World,
    pub(crate) ours: Hop,
}

impl Field {
    pub(crate) fn new() -> Option<Self> {
        rats()?;
        let world = World::new();
        let ours = world.workload("--echo");
        let field = Self { world, ours };
        std::fs::write(field.world.path("donor.pem"), certificate_of(field.ours.tcp())).unwrap();
        Some(field)
    }

    /// Runs the program to its end.
    pub(crate) fn rats(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut running = Running::start(self.command(words));
        running.end_input();
        let code = running.ended();
        (code, String::from_utf8_lossy(&running.out.all()).trim().to_owned())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = rats().expect("asked for when the field was made");
        command.arg(words[0]).arg(self.world.platform()).args(&words[1..]);
        command
    }

    /// A certificate of the peer's; `words` are those of `rats.py`.
    fn peer(&self, key: &str, words: &[&str]) -> Pair {
        let name = self.world.path(&[&[key], words].concat().join("-"));
        let (donor, out) = (self.world.path("donor.pem"), name.display().to_string());
        let made = self.rats(&[&["certificate", &donor.display().to_string(), &out, key], words].concat());
        assert_eq!(made.0, Some(0), "{made:?}");
        Pair { certificate: format!("{out}.pem").into(), key: format!("{out}.key").into() }
    }

    /// What the program says of a certificate.
    fn verdict(&self, pem: &str) -> (Option<i32>, String) {
        let file = self.world.path("found.pem");
        std::fs::write(&file, pem).unwrap();
        self.rats(&["verify", &file.display().to_string()])
    }

    /// A hop whose clients have to show evidence of that code; what it passes on comes back.
    fn judges_clients(&self, name: &str, mrenclave: &str) -> Hop {
        self.world.route(
            name,
            &format!(
                "listen = \"127.0.0.1:0\"\nxfer = \"{}\"\nupstream = {{ tls = \"mutual\", policy = \"code\" }}\n\
                 downstream = {{ tls = \"attested\", policy = \"any\" }}\n{}",
                self.ours.address,
                policy(mrenclave)
            ),
        )
    }

    /// A hop that takes plain bytes to a target with evidence of that code.
    fn judges_a_server(&self, name: &str, target: SocketAddr, mrenclave: &str) -> Hop {
        self.world.route(
            name,
            &format!(
                "listen = \"127.0.0.1:0\"\nxfer = \"{target}\"\nupstream = \"plain\"\n\
                 downstream = {{ tls = \"attested\", policy = \"code\" }}\n{}",
                policy(mrenclave)
            ),
        )
    }

    pub(crate) fn mrenclave(&self) -> String {
        let (code, said) = self.verdict(&std::fs::read_to_string(self.world.path("donor.pem")).unwrap());
        assert_eq!(code, Some(0), "{said}");
        said.strip_prefix("accepted ").unwrap().to_owned()
    }
}

/// The peer ends the path, as it speaks of nothing behind it.
fn policy(mrenclave: &str) -> String {
    format!(
        "[policy.code]\nallow_simulated = true\nidentity = \"any-genuine\"\nallow_legacy_end = true\n\
         [[policy.code.hop]]\nmrenclave = \"{mrenclave}\"\n"
    )
}

/// `rats.py`, with a Python that can run it. Where CI promised one, its absence is a failure and not a skip.
fn rats() -> Option<Command> {
    let able = find_all(&["python3", "python"]).find(|python| {
        let tried = Command::new(python).args(["-c", "import cryptography"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    });
    if able.is_none() {
        absent("cryptography");
    }
    let mut command = Command::new(able?);
    command.arg(programs().join("rats.py"));
    Some(command)
}

/// The certificate of a server of ours, as OpenSSL sees it. Its only complaint is the one that rats-tls passes over.
fn certificate_of(server: SocketAddr) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &server.to_string()]);
    let mut running = Running::start(command);
    running.end_input();
    running.ended();
    let (out, err) = (String::from_utf8_lossy(&running.out.all()).into_owned(), running.err.text());
    let complaints: Vec<_> = err.lines().filter(|line| line.contains("verify error")).collect();
    assert_eq!(complaints, ["verify error:num=18:self-signed certificate"], "{err}");
    pem(&out)
}

fn pem(text: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let (start, end) = (text.find("-----BEGIN CERTIFICATE-----"), text.find(END));
    let (Some(start), Some(end)) = (start, end) else { panic!("no certificate: {text}") };
    text[start..end + END.len()].to_owned() + "\n"
}

#[test]
fn a_client_is_admitted_by_its_evidence_and_verifies_ours() {
    let Some(field) = Field::new() else { return };
    let (mrenclave, sent) = (field.mrenclave(), Random::bytes(1, SIZE));
    let hop = field.judges_clients("hop", &mrenclave);
    let strict = field.judges_clients("strict", &"11".repeat(32));
    for (key, words) in KEYS.map(|key| (key, &[][..])).into_iter().chain([("p256", &["endorse"][..])]) {
        let own = field.peer(key, words);
        let (certificate, secret) = (own.certificate.display().to_string(), own.key.display().to_string());
        let mut client = Running::start(field.command(&["client", &hop.tcp().to_string(), &certificate, &secret]));
        client.feed(sent.clone(), true);
        assert_eq!(client.ended(), Some(0), "{key}: {}", client.err.text());
        assert_eq!(sha256(&client.out.all()), sha256(&sent), "{key}");
        let said = client.err.text();
        assert!(said.starts_with("accepted ") && said.ends_with("end close_notify\n"), "{key}: {said}");

        // The same peer where the policy names other code.
        let client = Client { world: &field.world, address: strict.tcp(), ca: None, own: Some(&own) };
        let refused = Stack::Python.client(&client, Act::Listen, b"");
        assert_eq!((refused.end, refused.bytes), (End::Alert("access denied".into()), Vec::new()), "{key}");
        strict.program.err.wait("the reason", |line| line.contains("reason=\"measurement\"").then_some(()));
    }
}

#[test]
fn a_server_is_admitted_by_its_evidence() {
    let Some(field) = Field::new() else { return };
    let mrenclave = field.mrenclave();
    for key in KEYS {
        let own = field.peer(key, &[]);
        let mut server = Stack::Python.server(&field.world, &Serves::Echo, None, &own);
        let hop = field.judges_a_server(key, server.address, &mrenclave);
        let mut stream = connect(hop.tcp());
        let sent = Random::bytes(2, SIZE);
        echo(&mut stream, &sent);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut stream).unwrap(), b"");
        assert_eq!(server.heard(), (Some((SIZE, sha256(&sent))), End::CloseNotify), "{key}");

        let strict = field.judges_a_server(&format!("strict-{key}"), server.address, &"11".repeat(32));
        read_all(&mut connect(strict.tcp())).unwrap_err();
        strict.program.err.wait("the reason", |line| line.contains("reason=\"measurement\"").then_some(()));
    }
}

/// The verifier at the beginning of a path appraises such a peer itself: the hop hands its evidence on.
#[test]
fn a_server_is_the_end_of_a_path_that_shelter_verifies() {
    let Some(field) = Field::new() else { return };
    let own = field.peer("rsa3072", &[]);
    let server = Stack::Python.server(&field.world, &Serves::Echo, None, &own);
    let hop = field.world.route(
        "hop",
        &format!(
            "listen = \"127.0.0.1:0\"\nxfer = \"{}\"\nupstream = \"attested\"\n\
             downstream = {{ tls = \"attested\", policy = \"code\" }}\n{}",
            server.address,
            policy(&field.mrenclave())
        ),
    );
    let allowing = field.world.policy("measurements = \"not-compared\"\nallow_legacy_end = true\n");
    let (code, path) = field.world.attest(&hop.address, &format!("--policy {allowing}"));
    assert_eq!(code, Some(0), "{path:#}");
    let forbidding = field.world.policy("measurements = \"not-compared\"\n");
    let (code, refused) = field.world.attest(&hop.address, &format!("--policy {forbidding}"));
    assert_eq!((code, &refused["error"]["code"]), (Some(1), &"shape".into()), "{refused:#}");
}

/// Our client certificate, as a server of another make sees it, by rats-tls' rules.
#[test]
fn our_client_certificate_follows_the_rules() {
    let Some(field) = Field::new() else { return };
    let own = field.peer("p256", &[]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", &port.to_string(), "-Verify", "1", "-naccept", "1", "-cert"]);
    command.arg(&own.certificate).arg("-key").arg(&own.key);
    let mut server = Running::start(command);
    server.out.wait("ACCEPT", |seen| String::from_utf8_lossy(seen).contains("ACCEPT").then_some(()));
    let hop = field.world.route(
        "hop",
        &format!(
            "listen = \"127.0.0.1:0\"\nxfer = \"{port}\"\nupstream = \"plain\"\n\
             downstream = {{ tls = \"mutual\", policy = \"code\" }}\n{}",
            policy(&field.mrenclave())
        ),
    );
    let stream = connect(hop.tcp());
    let seen = server.out.wait("our certificate", |seen| {
        let text = String::from_utf8_lossy(seen).into_owned();
        text.contains("-----END CERTIFICATE-----").then_some(text)
    });
    drop(stream);
    server.ended();
    let (code, verdict) = field.verdict(&pem(&seen));
    assert_eq!(code, Some(0), "{verdict}");
    let complaints = server.err.text();
    let complaints: Vec<_> = complaints.lines().filter(|line| line.contains("verify error")).collect();
    assert_eq!(complaints, ["verify error:num=18:self-signed certificate"]);
}

#[test]
fn each_lie_is_refused_by_its_name() {
    let Some(field) = Field::new() else { return };
    let mrenclave = field.mrenclave();
    let clients = field.judges_clients("clients", &mrenclave);
    for (lie, reason, cause) in LIES {
        let own = field.peer("p256", &[lie]);
        let reasons = [format!("reason=\"{reason}\""), cause.to_owned()];
        let said = |line: &str| reasons.iter().all(|word| line.contains(word)).then_some(());

        let client = Client { world: &field.world, address: clients.tcp(), ca: None, own: Some(&own) };
        let refused = Stack::Python.client(&client, Act::Listen, b"");
        assert!(matches!(refused.end, End::Alert(_)) && refused.bytes.is_empty(), "{lie}: {refused:?}");
        clients.program.err.wait(lie, said);

        let server = Stack::Python.server(&field.world, &Serves::Echo, None, &own);
        let hop = field.judges_a_server(lie, server.address, &mrenclave);
        read_all(&mut connect(hop.tcp())).unwrap_err();
        hop.program.err.wait(lie, said);

        // The program itself finds it, too. User data beyond the hash is nothing that rats-tls looks at.
        let (code, verdict) = field.verdict(&std::fs::read_to_string(&own.certificate).unwrap());
        assert_eq!(code, Some(i32::from(lie != "user-data-tail")), "{lie}: {verdict}");
    }
}

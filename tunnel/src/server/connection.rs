//! One connection, in order: handshake, appraise, open, connect, relay, close. Each step has a file of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inclavared_attest::evidence::Tee;
use inclavared_attest::path::{AttestedPeer, Counters, Downstream, Nonce, Onward, Open, Path, PeerVerdict, VERSION};
use inclavared_attest::policy::{Binding, Policy, TerminalKind};
use inclavared_attest::{RecordDigest, Timestamp};
use inclavared_config::{Deadlines, Downstream as Side, Legacy, ProxyProtocol, Upstream};
use inclavared_wire::frame::FrameKind;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::error::{Error, PeerMisbehaved, Refused};
use crate::leg::Leg;
use crate::leg::dial::{dial, dial_plain, server_name, terminal_kind};
use crate::leg::handshake::{self, ClientCertificate, Speaks};
use crate::leg::permits::{Holder, Permit, Who};
use crate::leg::socket::Socket;
use crate::path::behind::{self, Behind, Judged};
use crate::path::close::{Below, Closing, Ending};
use crate::path::live::Live;
use crate::path::opening::{
    Asked, open_path_and_tell, receive_start, start_path, while_client_stays, while_client_waits,
};
use crate::path::quoting::{Fresh, Leaf, Pending};
use crate::path::reappraise::Standing;
use crate::path::statement::Statement;
use crate::relay::{self, Broken, Closed, Outcome, Times};
use crate::server::compat;
use crate::server::crew::Place;
use crate::server::ended::Report;
use crate::server::node::{Node, RouteState, Service};
use crate::server::places::Admission;
use crate::server::proxy_protocol;
use crate::server::warm::{open_warm, receive_open};
use crate::trust::appraise::Admitted;
use crate::trust::identity::HopIdentity;

/// What a connection holds for as long as it lives.
#[derive(Debug)]
pub struct Held {
    /// Among all connections.
    pub admission: Admission,
    /// The turn to open a path, where the listener has waited for it.
    pub opening: Option<Permit>,
    /// With its worker.
    pub place: Place,
}

/// Serves one accepted socket until it has ended.
pub async fn serve(node: Arc<Node>, route: Arc<RouteState>, socket: Socket, source: Option<IpAddr>, mut held: Held) {
    let begun = Instant::now();
    let mut report = Report {
        route: Arc::clone(&route),
        source,
        path: None,
        counters: Counters::default(),
        result: Err(Error::Shutdown),
        opened_after: None,
        lasted: Duration::ZERO,
    };
    report.result = run(&node, &route, socket, source, begun, &mut held, &mut report).await;
    report.lasted = begun.elapsed();
    node.metrics.ended(&report.route.route.name, &report.counted());
    (node.ended)(&report);
    drop(held);
}

async fn run(
    node: &Node,
    route: &RouteState,
    socket: Socket,
    source: Option<IpAddr>,
    begun: Instant,
    held: &mut Held,
    report: &mut Report,
) -> Result<Closed, Error> {
    if route.route.compat.is_some() {
        return Box::pin(compat::serve(node, route, socket, source, report)).await;
    }
    // From before the first appraisal, so that no change falls between it and the stream.
    let changes = node.side.verifier.changes();
    // The opening is large and short: on the heap it is gone when the stream begins.
    let mut joined = Box::pin(begin(node, route, socket, source, held)).await?;
    report.opened_after = Some(begun.elapsed());
    let Joined { client, server, below, statement, standing, stranger, .. } = &mut *joined;
    report.path = match below {
        Below::Path(opened) => Some(Arc::clone(&opened.path)),
        Below::End(_) => None,
    };
    let times = times(node, report.path.as_deref(), *stranger);
    let live = Live::new(&node.side, route.quoter.as_ref(), statement.take(), below, (client, server));
    let closing = Closing { side: &node.side, below, live: &live };
    let refused = standing.until_refused(&node.side.verifier, changes);
    let Outcome { counters, result } = relay::run(client, server, &closing, &times, refused).await;
    report.counters = counters;
    report.path = live.path();
    drop(live);
    let Joined { client, server, disclose, .. } = *joined;
    match result {
        Ok(closed) => {
            Box::pin(async { tokio::join!(client.close(), server.close()) }).await;
            if closed.path.is_some() {
                report.path.clone_from(&closed.path);
            }
            Ok(closed)
        }
        Err(broken) => {
            Box::pin(tell(client, server, &broken, disclose)).await;
            Err(broken.error)
        }
    }
}

/// What is there for as long as the stream is: it may idle for days, and what only the opening needed is gone.
struct Joined {
    client: Leg,
    server: Leg,
    below: Below,
    statement: Option<Statement>,
    standing: Standing,
    /// A client that fails is told what was expected of the path.
    disclose: bool,
    /// Nobody has admitted the client that began the path.
    stranger: bool,
}

/// From the accepted socket to the first byte that may pass. A client that is refused has been told.
async fn begin(
    node: &Node,
    route: &RouteState,
    socket: Socket,
    source: Option<IpAddr>,
    held: &mut Held,
) -> Result<Box<Joined>, Error> {
    let (mut client, speaks) = Box::pin(held.admission.beside(meet(node, route, socket))).await?;
    let known = client_is_known(node, route, &client, speaks, source);
    let known = Box::pin(held.admission.beside(known)).await;
    let disclose = route.route.disclose_expected || matches!(known, Ok(Some(_)));
    let mut holder = holder(node, route, &client, matches!(known, Ok(Some(_))), source);
    let opened = match known {
        Ok(known) => open(node, route, &mut client, speaks, known, held, &mut holder).await,
        Err(error) => Err(error),
    };
    let Opened { mut server, mut below, behind, statement } = match opened {
        Ok(opened) => opened,
        Err(error) => {
            match error {
                // It goes so that another can come: it is not waited for.
                Error::Displaced { .. } if held.admission.is_newcomer() => client.fail_at_once(&error),
                _ => Box::pin(client.fail(&error, disclose)).await,
            }
            return Err(error);
        }
    };
    client.forget_the_handshake();
    server.forget_the_handshake();
    if let Below::Path(opened) = &mut below {
        opened.preview = Default::default();
    }
    let (above, under) = (route.route.upstream.policy(), route.route.downstream.policy());
    let standing = Standing::new((behind, above), (&below, under));
    Ok(Box::new(Joined { client, server, below, statement, standing, disclose, stranger: holder.stranger }))
}

/// For whom a connection has its places.
fn holder(node: &Node, route: &RouteState, client: &Leg, is_known: bool, source: Option<IpAddr>) -> Holder {
    let peer = client.tls.as_ref().and_then(|facts| facts.peer.as_ref()).filter(|_| is_known);
    // A client of a PKI has shown a certificate of the authorities that the route names, or there was no handshake.
    let is_of_pki = matches!(&route.route.upstream, Upstream::Pki(side) if side.client_ca.is_some());
    match (peer, node.gates.sources.of(source)) {
        (Some(peer), _) => Holder::admitted(Who::Hop(peer.kid)),
        (None, _) if route.is_local() => Holder::admitted(Who::Listener(route.place)),
        (None, who @ Who::Local) => Holder::admitted(who),
        (None, who) if is_of_pki => Holder::admitted(who),
        (None, who) => Holder::stranger(who),
    }
}

/// Says to both peers what broke, unless one has said it itself.
async fn tell(client: Leg, server: Leg, broken: &Broken, disclose: bool) {
    let client = async {
        match broken.client_is_receipted() {
            true => client.close().await,
            false => client.fail_unless(broken.client_knows(), &broken.error, disclose).await,
        }
    };
    tokio::join!(client, server.fail_unless(broken.server_knows(), &broken.error, true));
}

/// The upstream leg: TLS with our evidence or with an ordinary certificate, or plain bytes.
async fn meet(node: &Node, route: &RouteState, socket: Socket) -> Result<(Leg, Speaks), Error> {
    let certificate = match route.route.upstream {
        Upstream::Plain => return Ok((Leg::plain(socket), Speaks::Bytes)),
        Upstream::Attested => ClientCertificate::Optional,
        Upstream::Mutual { .. } => ClientCertificate::Required,
        Upstream::Pki(_) => {
            let files = route.pki.upstream.as_ref().ok_or_else(without_files)?;
            let leg =
                handshake::accept_pki(socket, files, &node.gates.handshakes, node.side.deadlines.handshake).await?;
            return Ok((leg, Speaks::Bytes));
        }
    };
    let allow_bytes = route.route.legacy == Legacy::Enforce;
    let (turns, limit) = (&node.gates.handshakes, node.side.deadlines.handshake);
    handshake::accept(socket, &node.side.provider, route.identity()?, certificate, allow_bytes, turns, limit).await
}

fn without_files() -> Error {
    Error::Internal("this route has no certificates and was asked for some".to_owned())
}

/// Appraises the client where the route asks for its evidence: as the first of the path behind it, which it shows with
/// START. One that speaks no frames shows none, and its policy has to allow that.
async fn client_is_known(
    node: &Node,
    route: &RouteState,
    client: &Leg,
    speaks: Speaks,
    source: Option<IpAddr>,
) -> Result<Option<Box<Admitted>>, Error> {
    match (&route.route.upstream, client.tls.as_ref().and_then(|facts| facts.peer.as_ref())) {
        (Upstream::Mutual { policy }, Some(peer)) => {
            let newcomer = Holder::stranger(node.gates.sources.of(source));
            let _turn = node.gates.newcomers.turn_within(newcomer, node.side.deadlines.appraisal).await?;
            node.side.verifier.admit(peer, policy, speaks == Speaks::Bytes).await.map(|known| Some(Box::new(known)))
        }
        (Upstream::Mutual { .. }, None) => Err(Refused::NoEvidence.into()),
        _ => Ok(None),
    }
}

/// A connection whose two legs are joined: data may pass.
struct Opened {
    server: Leg,
    below: Below,
    behind: Judged,
    statement: Option<Statement>,
}

async fn open(
    node: &Node,
    route: &RouteState,
    client: &mut Leg,
    speaks: Speaks,
    known: Option<Box<Admitted>>,
    held: &mut Held,
    holder: &mut Holder,
) -> Result<Opened, Error> {
    if !holder.stranger || speaks == Speaks::Bytes {
        held.admission.settle(*holder)?;
    }
    match speaks {
        Speaks::Frames => Box::pin(open_for_path(node, route, client, held, holder)).await,
        Speaks::Bytes => Box::pin(open_for_bytes(node, route, client, known, held, *holder)).await,
    }
}

/// The client verifies the path itself: OPEN, the cascade below, PREVIEW, START.
async fn open_for_path(
    node: &Node,
    route: &RouteState,
    client: &mut Leg,
    held: &mut Held,
    holder: &mut Holder,
) -> Result<Opened, Error> {
    let facts = client.tls.as_ref().ok_or_else(|| Error::Internal("frames on a plain leg".to_owned()))?;
    let leg = facts.leg.clone();
    let own = facts.own.clone().ok_or_else(|| Error::Internal("a server leg without our identity".to_owned()))?;
    let service = route.identity.clone();
    let is_mine = move |kid: &_| service.as_ref().is_some_and(|service| service.is_mine(kid));
    let asked = held.admission.beside(receive_open(node, route, client, *holder, is_mine)).await?;
    // At once, and not after a deadline: nothing that is waited for would change it.
    if asked.open.binding > Binding::Key && !route.quoter()?.can_quote() {
        return Err(Error::NeverQuotes);
    }
    // It is believed of a hop that was admitted: whoever was not is a stranger whatever it says.
    holder.stranger |= asked.open.stranger;
    held.admission.settle(*holder)?;
    let turn = node.gates.openings.turn_within(*holder, node.side.deadlines.opening_turn);
    let permit = while_client_waits(client, turn).await?;
    let mut statement = Statement::new(Arc::clone(&own), &route.route.role, &asked.open, asked.digest, &leg);
    let (told, leg_below) = oneshot::channel();
    let quotes = own_quotes(route, asked.open.binding, statement.preview_leaf(), leg_below);
    let path = Box::pin(below(node, route, Some((&asked, told)), holder.stranger, Some(&own)));
    let cascade = async { tokio::try_join!(path, quotes) };
    let ((server, below), (fresh, shown)) = while_client_waits(client, cascade).await?;
    let shown = match shown {
        Some(shown) => Some(shown),
        None => quote_for_start(route, server.as_ref(), &below)?,
    };
    let preview = statement.preview(&below, fresh)?;
    // What was to be done is done. That the client takes its time costs room, and nobody's turn.
    drop(permit);
    let stay = node.gates.previewed.enter(*holder, 1);
    let limit = node.side.deadlines.preview_to_start;
    let started = Box::pin(stay.beside(async {
        client.send_within(FrameKind::Preview, &preview, "taking the PREVIEW", limit).await?;
        started(node, route, client, &asked, statement.preview_digest()).await
    }))
    .await;
    drop(stay);
    let (behind, server) = match (started, server) {
        (Ok(behind), server) => {
            let server = join(node, route, server, &below, (client, &behind), shown).await?;
            (behind, server)
        }
        (Err(error), Some(server)) => {
            server.abort(error.reason(), "the client did not start the path").await;
            return Err(error);
        }
        (Err(error), None) => return Err(error),
    };
    Ok(Opened { server, below, behind: behind.into_judged(), statement: Some(statement) })
}

/// Our own quotes at level `quote`, made while the path below is opened: over our side of the leg above, and over that of
/// the leg below. It is one, unless that leg stood ready before it was known what it is for.
async fn own_quotes(
    route: &RouteState,
    binding: Binding,
    preview: Leaf,
    leg_below: oneshot::Receiver<Leaf>,
) -> Result<(Option<Fresh>, Option<Pending>), Error> {
    if binding != Binding::Quote {
        return Ok((None, None));
    }
    let quoter = route.quoter()?;
    match leg_below.await {
        Ok(leaf) => {
            let [preview, shown] = quoter.ask_all([preview, leaf])?;
            Ok((Some(preview.done().await?), Some(shown)))
        }
        Err(_) => Ok((Some(quoter.ask(preview)?.done().await?), None)),
    }
}

/// START, and what it shows of the path behind the client.
async fn started(
    node: &Node,
    route: &RouteState,
    client: &mut Leg,
    asked: &Asked,
    shown: Option<RecordDigest>,
) -> Result<Behind, Error> {
    let forward = receive_start(client, asked, shown, node.side.deadlines.preview_to_start).await?;
    Behind::of_client(&node.side, route.route.upstream.policy(), client, asked, forward).await
}

/// Our own quote as the client of the path below, where it is asked for.
fn quote_for_start(route: &RouteState, server: Option<&Leg>, below: &Below) -> Result<Option<Pending>, Error> {
    match (server, below) {
        (Some(leg), Below::Path(opened)) => behind::quote(route.quoter.as_ref(), leg, opened),
        _ => Ok(None),
    }
}

/// The client speaks no frames: this hop verifies the path below under its own policy before a byte passes.
async fn open_for_bytes(
    node: &Node,
    route: &RouteState,
    client: &mut Leg,
    known: Option<Box<Admitted>>,
    held: &mut Held,
    holder: Holder,
) -> Result<Opened, Error> {
    let own = client.tls.as_ref().and_then(|facts| facts.own.clone());
    let opening = held.opening.take();
    let cascade = async {
        let permit = match opening {
            Some(permit) => permit,
            None => node.gates.openings.turn_within(holder, node.side.deadlines.opening_turn).await?,
        };
        let path = below(node, route, None, holder.stranger, own.as_ref()).await?;
        Ok((permit, path))
    };
    let (_permit, (server, below)) = while_client_stays(client, Box::pin(cascade)).await?;
    let shown = quote_for_start(route, server.as_ref(), &below)?;
    let behind = match &route.route.upstream {
        Upstream::Plain => {
            let own = server.as_ref().and_then(|leg| leg.tls.as_ref()?.own.as_ref());
            Behind::plain(client.sink.socket(), own.map_or(Tee::None, |own| own.certificate.evidence().tee()))
        }
        upstream => Behind::without_frames(client, known, upstream.policy()),
    };
    let server = join(node, route, server, &below, (client, &behind), shown).await?;
    Ok(Opened { server, below, behind: behind.into_judged(), statement: None })
}

/// What lies below: its leg, unless it is dialled at START, and what our record says of it.
async fn below(
    node: &Node,
    route: &RouteState,
    asked: Option<(&Asked, oneshot::Sender<Leaf>)>,
    stranger: bool,
    own: Option<&Arc<HopIdentity>>,
) -> Result<(Option<Leg>, Below), Error> {
    let (asked, told) = asked.unzip();
    let (policy, show) = match (&route.serves, &route.route.downstream) {
        (Service::InProcess(_), _) => return Ok((None, Below::End(TerminalKind::Workload.into()))),
        (Service::Target, Side::Plain) => {
            let tee = own.map_or(Tee::None, |own| own.certificate.evidence().tee());
            let kind = terminal_kind(&route.route.target, tee);
            return Ok((None, Below::End(kind.into())));
        }
        // TLS, but nothing attested at its other end: to a verifier that is the end of what is confidential.
        (Service::Target, Side::Pki(_)) => return Ok((None, Below::End(TerminalKind::Plain.into()))),
        (Service::Target, Side::Attested { policy }) => (policy, false),
        (Service::Target, Side::Mutual { policy }) => (policy, true),
    };
    let identity = match (show, own) {
        // The key of the leg above is the key of the leg below: the records of a path are joined by it.
        (_, Some(own)) if show || asked.is_some() => Some(Arc::clone(own)),
        (true, _) => Some(route.identity()?),
        (false, _) => None,
    };
    let ask = || match asked {
        Some(asked) => onward(route, &asked.open, policy, stranger, own),
        None => first(route, policy, stranger),
    };
    // Before the dial: where no hop may follow, none is called.
    let mut open = ask()?;
    // A leg that stands ready may take this path, and only then is it known which: nobody waits for that.
    let told = told.filter(|_| route.warm.is_none());
    if route.warm.is_some() {
        let limit = opening_limit(node, &open);
        if let Some((leg, opened)) = open_warm(node, route, identity.as_ref(), policy, &open, limit).await? {
            return Ok((Some(leg), Below::Path(opened)));
        }
        open = ask()?;
    }
    let socket = dial(&route.route.target, node.side.deadlines.dial).await?;
    let name = server_name(&route.route.target);
    let handshake =
        handshake::connect(socket, &node.side.provider, identity, name, node.side.deadlines.handshake).await;
    let (mut leg, speaks) = handshake?;
    if speaks == Speaks::Bytes {
        let end = legacy_end(node, &leg, policy).await?;
        return Ok((Some(leg), Below::End(end)));
    }
    let limit = opening_limit(node, &open);
    let tell = |leg: &Leg, open| {
        if let (Some(told), Some(leaf)) = (told, behind::leaf(leg, open)) {
            // Who is not at level `quote` does not listen.
            let _ = told.send(leaf);
        }
    };
    match open_path_and_tell(&node.side, &mut leg, policy, &open, limit, tell).await {
        Ok(opened) => Ok((Some(leg), Below::Path(opened))),
        Err(error) => {
            leg.abort(error.reason(), "the path was refused").await;
            Err(error)
        }
    }
}

/// How long the PREVIEW may take: less with every hop that the path has passed.
fn opening_limit(node: &Node, open: &Open) -> Duration {
    let passed = node.side.deadlines.open_to_preview_per_hop * u32::try_from(open.visited.len()).unwrap_or(u32::MAX);
    node.side.deadlines.open_to_preview.saturating_sub(passed)
}

/// The OPEN that goes on, for the verifier further up.
fn onward(
    route: &RouteState,
    open: &Open,
    policy: &Policy,
    stranger: bool,
    own: Option<&Arc<HopIdentity>>,
) -> Result<Open, Error> {
    let kid = own.map(|own| own.key.kid()).ok_or_else(|| Error::Internal("a hop without a key".to_owned()))?;
    let onward = Onward {
        kid,
        binding: policy.binding,
        max_hops: route.route.ttl,
        route: None,
        policy: Some(policy.digest()),
        have: Vec::new(),
        no_warm_legs: policy.refuse_warm_legs,
        stranger,
    };
    Ok(open.onward(onward).map_err(PeerMisbehaved::Open)?)
}

/// The OPEN of a path that begins here: this process is its verifier, and the server is the first hop of those that may
/// follow.
fn first(route: &RouteState, policy: &Policy, stranger: bool) -> Result<Open, Error> {
    let nonce = Nonce::generate().map_err(|error| Error::Internal(format!("randomness: {error}")))?;
    Ok(Open {
        versions: vec![VERSION],
        nonce,
        binding: policy.binding,
        route: None,
        policy: Some(policy.digest()),
        ttl: route.route.ttl.min(policy.shape.max_hops).saturating_sub(1),
        visited: Vec::new(),
        have: Vec::new(),
        no_warm_legs: policy.refuse_warm_legs,
        stranger,
    })
}

/// An attested peer that speaks no frames: appraised here, and named in our record for the verifier to appraise.
async fn legacy_end(node: &Node, leg: &Leg, policy: &Arc<Policy>) -> Result<Ending, Error> {
    let facts = leg.tls.as_ref().ok_or_else(|| Error::Internal("an attested peer on a plain leg".to_owned()))?;
    let peer = facts.peer.as_ref().ok_or(Refused::NoEvidence)?;
    let admitted = node.side.verifier.admit(peer, policy, true).await?;
    let evidence = admitted.evidence.blob().into();
    let downstream = Downstream::Legacy(AttestedPeer {
        leg: facts.leg.id,
        key: peer.kid,
        evidence: admitted.evidence.digest(),
        verdict: PeerVerdict::from(&admitted.verdict),
        policy: policy.digest(),
        collateral: admitted.appraised.collateral,
        appraised_at: Timestamp::now(),
    });
    Ok(Ending { downstream, evidence: Some(evidence) })
}

/// Everything is verified: the path below is started, or the plain target dialled.
async fn join(
    node: &Node,
    route: &RouteState,
    server: Option<Leg>,
    below: &Below,
    (client, behind): (&Leg, &Behind),
    shown: Option<Pending>,
) -> Result<Leg, Error> {
    match (server, &route.serves) {
        (Some(mut leg), _) => {
            if let Below::Path(opened) = below {
                let forward = behind.shown(&leg, opened, behind::quoted(shown).await?)?;
                start_path(&mut leg, opened, forward).await?;
            }
            Ok(leg)
        }
        (None, Service::Target) => {
            let mut socket = match route.pki.downstream {
                Some(_) => dial(&route.route.target, node.side.deadlines.dial).await?,
                None => dial_plain(&route.route.target, node.side.deadlines.dial).await?,
            };
            if let Some(ProxyProtocol::V2) = route.route.proxy_protocol {
                let header = proxy_protocol::header(client, behind, route.route.upstream.policy());
                proxy_protocol::send(&mut socket, &header, node.side.deadlines.dial).await?;
            }
            match &route.pki.downstream {
                Some(files) => handshake::connect_pki(socket, files, node.side.deadlines.handshake).await,
                None => Ok(Leg::plain(socket)),
            }
        }
        (None, Service::InProcess(workload)) => {
            let (ours, theirs) = UnixStream::pair().map_err(|e| Error::Internal(format!("a socket pair: {e}")))?;
            let workload = Arc::clone(workload);
            tokio::task::spawn_local(async move {
                if let Err(error) = workload.serve(theirs).await {
                    tracing::debug!(%error, "the workload ended a stream");
                }
            });
            Ok(Leg::plain(Socket::Unix(ours)))
        }
    }
}

fn times(node: &Node, path: Option<&Path>, stranger: bool) -> Times {
    let Deadlines { idle, stranger_idle, .. } = node.side.deadlines;
    let idle = if stranger { Some(idle.map_or(stranger_idle, |idle| idle.min(stranger_idle))) } else { idle };
    let depth = path.map_or(0, |path| path.hops.len());
    let margin = node.side.deadlines.open_to_preview_per_hop * u32::try_from(depth).unwrap_or(u32::MAX);
    Times {
        // The hop nearest to the workload ends a half-closed stream, and signs for it; those above wait for that.
        half_close: node.side.deadlines.half_close + margin,
        write_stall: node.side.deadlines.write_stall,
        idle: idle.map(|idle| idle + margin),
    }
}

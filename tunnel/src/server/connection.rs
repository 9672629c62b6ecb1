//! One connection, in order: handshake, appraise, open, join, relay, close. Each step has a file of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inclavared_attest::path::Counters;

use crate::error::Error;
use crate::leg::Leg;
use crate::leg::socket::Socket;
use crate::path::close::{Below, Closing};
use crate::path::live::Live;
use crate::path::reappraise::Standing;
use crate::path::statement::Statement;
use crate::relay::{self, Broken, Closed, Outcome};
use crate::server::compat;
use crate::server::ended::Report;
use crate::server::held::Held;
use crate::server::meet::{appraise, meet};
use crate::server::node::{Node, RouteState};
use crate::server::open::{Opened, open};

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
    let times = node.side.times(report.path.as_deref(), *stranger);
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
    let mut client = Box::pin(held.admission.beside(meet(node, route, socket))).await?;
    let known = Box::pin(held.admission.beside(appraise(node, route, &client, source))).await;
    let disclose = route.route.disclose_expected || matches!(known, Ok(Some(_)));
    let mut holder = client.holder(node, route, matches!(known, Ok(Some(_))), source);
    let opened = match known {
        Ok(known) => open(node, route, &mut client, known, held, &mut holder).await,
        Err(error) => Err(error),
    };
    let mut client = client.into_leg();
    match opened {
        Ok(Opened { mut server, mut below, behind, statement }) => {
            client.source.shrink();
            server.source.shrink();
            if let Below::Path(opened) = &mut below {
                opened.preview = Default::default();
            }
            let (above, under) = (route.route.upstream.policy(), route.route.downstream.policy());
            let standing = Standing::new((behind, above), (&below, under));
            let stranger = holder.stranger;
            Ok(Box::new(Joined { client, server, below, statement, standing, disclose, stranger }))
        }
        Err(error) => {
            match error {
                // It goes so that another can come: it is not waited for.
                Error::Displaced { .. } if held.admission.is_newcomer() => client.fail_at_once(&error),
                _ => Box::pin(client.fail(&error, disclose)).await,
            }
            Err(error)
        }
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

//! The opening of one connection: from a client that is known to two legs that are joined.
//!
//! What lies below is opened by `below`, and started by `join`; here is what is told to the client, and in which order.

use std::sync::Arc;

use inclavared_attest::RecordDigest;
use inclavared_attest::evidence::Tee;
use inclavared_attest::policy::{Binding, TerminalKind};
use inclavared_config::Upstream;
use inclavared_wire::frame::FrameKind;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::leg::permits::Holder;
use crate::leg::{AcceptedLeg, DialledLeg, Leg};
use crate::path::behind::{self, Behind, Judged};
use crate::path::close::Below;
use crate::path::opening::{Asked, receive_start, while_client_stays, while_client_waits};
use crate::path::quoting::{Fresh, Leaf, Pending};
use crate::path::statement::Statement;
use crate::server::below::{Verifier, below};
use crate::server::held::Held;
use crate::server::join::{From, join};
use crate::server::meet::Client;
use crate::server::node::{Node, RouteState};
use crate::server::warm::receive_open;
use crate::trust::appraise::Admitted;

/// A connection whose two legs are joined: data may pass.
pub(super) struct Opened {
    pub(super) server: Leg,
    pub(super) below: Below,
    pub(super) behind: Judged,
    pub(super) statement: Option<Statement>,
}

/// Opens what the client asks for, by frames or by being there.
pub(super) async fn open(
    node: &Node,
    route: &RouteState,
    client: &mut Client,
    known: Option<Box<Admitted>>,
    held: &mut Held,
    holder: &mut Holder,
) -> Result<Opened, Error> {
    // A stranger with frames is settled when its OPEN has come: until then its place is a newcomer's.
    if !holder.stranger || !matches!(client, Client::Frames(_)) {
        held.admission.settle(*holder)?;
    }
    match client {
        Client::Frames(client) => Box::pin(open_for_path(node, route, client, held, holder)).await,
        client => Box::pin(open_for_bytes(node, route, client, known, held, *holder)).await,
    }
}

/// The client verifies the path itself: OPEN, the cascade below, PREVIEW, START.
async fn open_for_path(
    node: &Node,
    route: &RouteState,
    client: &mut AcceptedLeg,
    held: &mut Held,
    holder: &mut Holder,
) -> Result<Opened, Error> {
    let own = Arc::clone(&client.facts.own);
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
    let facts = &client.facts.leg;
    let mut statement = Statement::new(Arc::clone(&own), &route.route.role, &asked.open, asked.digest, facts);
    let (told, leg_below) = oneshot::channel();
    let quotes = own_quotes(route, asked.open.binding, statement.preview_leaf(), leg_below);
    let path = Box::pin(below(node, route, Verifier::Client { asked: &asked, own: &own, told }, holder.stranger));
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
    let behind = match started {
        Ok(behind) => behind,
        Err(error) => {
            if let Some(server) = server {
                server.abort(error.reason(), "the client did not start the path").await;
            }
            return Err(error);
        }
    };
    let from = From { leg: client, facts: Some(&client.facts.leg), behind: &behind };
    let server = join(node, route, server, &below, from, shown).await?;
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
    client: &mut AcceptedLeg,
    asked: &Asked,
    shown: Option<RecordDigest>,
) -> Result<Behind, Error> {
    let forward = receive_start(client, asked, shown, node.side.deadlines.preview_to_start).await?;
    Behind::of_client(&node.side, route.route.upstream.policy(), client, asked, forward).await
}

/// Our own quote as the client of the path below, where it is asked for.
fn quote_for_start(route: &RouteState, server: Option<&DialledLeg>, below: &Below) -> Result<Option<Pending>, Error> {
    match (server, below) {
        (Some(leg), Below::Path(opened)) => behind::quote(route.quoter.as_ref(), leg, opened),
        _ => Ok(None),
    }
}

/// The client speaks no frames: this hop verifies the path below under its own policy before a byte passes.
async fn open_for_bytes(
    node: &Node,
    route: &RouteState,
    client: &mut Client,
    known: Option<Box<Admitted>>,
    held: &mut Held,
    holder: Holder,
) -> Result<Opened, Error> {
    let own = client.facts().map(|facts| Arc::clone(&facts.own));
    let opening = held.opening.take();
    let cascade = async {
        let permit = match opening {
            Some(permit) => permit,
            None => node.gates.openings.turn_within(holder, node.side.deadlines.opening_turn).await?,
        };
        let path = below(node, route, Verifier::Ourselves { own: own.as_ref() }, holder.stranger).await?;
        Ok((permit, path))
    };
    let (_permit, (server, below)) = while_client_stays(client.leg_mut(), Box::pin(cascade)).await?;
    let shown = quote_for_start(route, server.as_ref(), &below)?;
    let behind = match (&*client, &route.route.upstream) {
        (Client::Frames(client) | Client::Bytes(client), upstream) => {
            Behind::without_frames(client, known, upstream.policy())
        }
        (Client::Unattested(leg), Upstream::Plain) => {
            let own = server.as_ref().and_then(|leg| leg.facts.own.as_ref());
            Behind::plain(leg.sink.socket(), own.map_or(Tee::None, |own| own.certificate.evidence().tee()))
        }
        (Client::Unattested(_), _) => Behind::begins(TerminalKind::Plain),
    };
    let from = From { leg: client.leg(), facts: client.facts().map(|facts| &facts.leg), behind: &behind };
    let server = join(node, route, server, &below, from, shown).await?;
    Ok(Opened { server, below, behind: behind.into_judged(), statement: None })
}

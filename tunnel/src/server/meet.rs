//! The handshake with a client, and the appraisal of what it shows of itself.

use std::net::IpAddr;

use inclavared_config::{Legacy, Upstream};

use crate::error::{Error, Refused};
use crate::leg::handshake::{self, ClientCertificate, Speaks};
use crate::leg::permits::{Holder, Who};
use crate::leg::socket::Socket;
use crate::leg::{AcceptedFacts, AcceptedLeg, Leg};
use crate::server::node::{Node, RouteState};
use crate::trust::appraise::Admitted;

/// A client whose handshake is done.
#[derive(Debug)]
pub(super) enum Client {
    /// It speaks frames: it verifies the path itself.
    Frames(AcceptedLeg),
    /// It was shown evidence, and speaks no frames.
    Bytes(AcceptedLeg),
    /// Plain, or met with the certificate of a PKI.
    Unattested(Leg),
}

impl Client {
    pub(super) fn facts(&self) -> Option<&AcceptedFacts> {
        match self {
            Self::Frames(client) | Self::Bytes(client) => Some(&client.facts),
            Self::Unattested(_) => None,
        }
    }

    pub(super) fn leg_mut(&mut self) -> &mut Leg {
        match self {
            Self::Frames(client) | Self::Bytes(client) => client,
            Self::Unattested(leg) => leg,
        }
    }

    pub(super) fn leg(&self) -> &Leg {
        match self {
            Self::Frames(client) | Self::Bytes(client) => client,
            Self::Unattested(leg) => leg,
        }
    }

    /// For whom a connection of it has its places. `is_known`: its evidence was admitted.
    pub(super) fn holder(&self, node: &Node, route: &RouteState, is_known: bool, source: Option<IpAddr>) -> Holder {
        let peer = self.facts().and_then(|facts| facts.peer.as_ref()).filter(|_| is_known);
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

    /// What is left of it once data may pass.
    pub(super) fn into_leg(self) -> Leg {
        match self {
            Self::Frames(client) | Self::Bytes(client) => client.forget_the_handshake(),
            Self::Unattested(leg) => leg,
        }
    }
}

/// The upstream leg: TLS with our evidence or with an ordinary certificate, or plain bytes.
pub(super) async fn meet(node: &Node, route: &RouteState, socket: Socket) -> Result<Client, Error> {
    let (turns, limit) = (&node.gates.handshakes, node.side.deadlines.handshake);
    let certificate = match route.route.upstream {
        Upstream::Plain => return Ok(Client::Unattested(Leg::plain(socket))),
        Upstream::Attested => ClientCertificate::Optional,
        Upstream::Mutual { .. } => ClientCertificate::Required,
        Upstream::Pki(_) => {
            let without = || Error::Internal("this route has no certificates and was asked for some".to_owned());
            let files = route.pki.upstream.as_ref().ok_or_else(without)?;
            return handshake::accept_pki(socket, files, turns, limit).await.map(Client::Unattested);
        }
    };
    let allow_bytes = route.route.legacy == Legacy::Enforce;
    let (provider, identity) = (&node.side.provider, route.identity()?);
    let met = handshake::accept(socket, provider, identity, certificate, allow_bytes, turns, limit).await?;
    Ok(match met {
        (client, Speaks::Frames) => Client::Frames(client),
        (client, Speaks::Bytes) => Client::Bytes(client),
    })
}

/// Appraises the client where the route asks for its evidence: as the first of the path behind it, which it shows with
/// START. One that speaks no frames shows none, and its policy has to allow that.
pub(super) async fn appraise(
    node: &Node,
    route: &RouteState,
    client: &Client,
    source: Option<IpAddr>,
) -> Result<Option<Box<Admitted>>, Error> {
    let Upstream::Mutual { policy } = &route.route.upstream else { return Ok(None) };
    let peer = client.facts().and_then(|facts| facts.peer.as_ref()).ok_or(Refused::NoEvidence)?;
    let newcomer = Holder::stranger(node.gates.sources.of(source));
    let _turn = node.gates.newcomers.turn_within(newcomer, node.side.deadlines.appraisal).await?;
    let admitted = node.side.verifier.admit(peer, policy, matches!(client, Client::Bytes(_))).await?;
    Ok(Some(Box::new(admitted)))
}

//! Everything is verified: the path below is started, or the plain target dialled.

use std::sync::Arc;

use inclavared_config::ProxyProtocol;
use tokio::net::UnixStream;

use crate::error::Error;
use crate::leg::dial::{dial, dial_plain};
use crate::leg::handshake;
use crate::leg::socket::Socket;
use crate::leg::{DialledLeg, Leg, LegFacts};
use crate::path::behind::{self, Behind};
use crate::path::close::Below;
use crate::path::opening::start_path;
use crate::path::quoting::Pending;
use crate::server::node::{Node, RouteState, Service};
use crate::server::proxy_protocol;

/// Whom the leg below is joined with.
pub(super) struct From<'a> {
    pub(super) leg: &'a Leg,
    /// Of an attested leg.
    pub(super) facts: Option<&'a LegFacts>,
    pub(super) behind: &'a Behind,
}

/// The leg below, ready for data. `shown` is our own fresh quote for the path behind us, where one is asked for.
pub(super) async fn join(
    node: &Node,
    route: &RouteState,
    server: Option<DialledLeg>,
    below: &Below,
    from: From<'_>,
    shown: Option<Pending>,
) -> Result<Leg, Error> {
    match (server, &route.serves) {
        (Some(mut leg), _) => {
            if let Below::Path(opened) = below {
                let forward = from.behind.shown(&leg, opened, behind::quoted(shown).await?)?;
                start_path(&mut leg, opened, forward).await?;
            }
            Ok(leg.forget_the_handshake())
        }
        (None, Service::Target) => {
            let limit = node.side.deadlines.dial;
            let mut socket = match route.pki.downstream {
                Some(_) => dial(&route.route.target, limit).await?,
                None => dial_plain(&route.route.target, limit).await?,
            };
            if let Some(ProxyProtocol::V2) = route.route.proxy_protocol {
                let header = proxy_protocol::header(from.leg, from.facts, from.behind, route.route.upstream.policy());
                proxy_protocol::send(&mut socket, &header, limit).await?;
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

//! `compat = "enclave-tls"`: the original's `shelter` as a client. It asks one question, and is answered from what was
//! verified.
//!
//! | the original | here |
//! |---|---|
//! | the hop's certificate has an SGX quote over an RSA key, and no claims | the same (`identity`) |
//! | `{"type":"GETENCLAVEINFO"}`, up to 512 bytes | the same; anything else ends the session with an alert |
//! | the hop connects to the workload, and sends on 64 bytes that it says are its measurements | the whole path behind the hop is verified under the route's policy; the answer has the measurements of the quote of its last hop, and no byte of payload |
//! | a workload that cannot be verified is still answered for | an alert, and nothing that looks like an answer |
//!
//! What such a client cannot have: evidence of the path itself, a receipt, a stream. TLS 1.3 is demanded, as everywhere.

mod session;

use std::net::IpAddr;
use std::sync::Arc;

use inclavared_attest::Reason;
use inclavared_attest::appraise::{AppraisalError, CodeIdentity, SgxIdentity};
use inclavared_attest::path::{CloseReason, Counters, Path};
use inclavared_config::Downstream;
use serde_json::{Value, json};

use crate::error::{Error, PeerMisbehaved, Refused};
use crate::leg::permits::Holder;
use crate::leg::socket::Socket;
use crate::path::client;
use crate::relay::Closed;
use crate::server::ended::Report;
use crate::server::node::{Node, RouteState};
use session::Session;

/// The longest question: what the original read at once.
const LONGEST_QUESTION: usize = 512;

/// Serves one client to its end.
pub async fn serve(
    node: &Node,
    route: &RouteState,
    socket: Socket,
    source: Option<IpAddr>,
    report: &mut Report,
) -> Result<Closed, Error> {
    let mut session = Session::accept(node, route, socket).await?;
    match answer(node, route, &mut session, source, report).await {
        Ok(path) => {
            session.close().await;
            Ok(Closed { reason: CloseReason::Complete, path: Some(path) })
        }
        Err(error) => {
            session.fail(&error).await;
            Err(error)
        }
    }
}

async fn answer(
    node: &Node,
    route: &RouteState,
    session: &mut Session,
    source: Option<IpAddr>,
    report: &mut Report,
) -> Result<Arc<Path>, Error> {
    let asked = session.hear(LONGEST_QUESTION, node.side.deadlines.handshake_to_open, question).await?;
    let holder = Holder::stranger(node.gates.sources.of(source));
    let _permit = node.gates.openings.turn_within(holder, node.side.deadlines.opening_turn).await?;
    let (policy, shows) = match &route.route.downstream {
        Downstream::Attested { policy } => (policy, false),
        Downstream::Mutual { policy } => (policy, true),
        Downstream::Plain | Downstream::Pki(_) => {
            return Err(Error::Internal("the question was asked of a route that verifies nothing".to_owned()));
        }
    };
    let identity = if shows { Some(route.identity()?) } else { None };
    let verified = client::verify(&node.side, &route.route.target, policy, identity).await?;
    let path = Arc::clone(verified.path());
    // Nothing is asked of the workload itself: what it would say is its own word.
    verified.leave().await;
    report.path = Some(Arc::clone(&path));
    let text = enclave_info(&path)?.to_string();
    session.say(text.as_bytes(), node.side.deadlines.handshake_to_open).await?;
    report.counters = Counters { up: asked as u64, down: text.len() as u64 };
    Ok(path)
}

/// How many bytes the question has; `None` if it is not whole yet.
fn question(heard: &[u8]) -> Result<Option<usize>, Error> {
    let refused = |what: &str| Error::from(PeerMisbehaved::Protocol(what.to_owned()));
    let mut values = serde_json::Deserializer::from_slice(heard).into_iter::<Value>();
    match values.next() {
        None => Ok(None),
        Some(Err(error)) if error.is_eof() => Ok(None),
        Some(Ok(value)) if value["type"] == "GETENCLAVEINFO" => Ok(Some(heard.len())),
        Some(Ok(_)) => Err(refused("a question other than GETENCLAVEINFO")),
        Some(Err(_)) => Err(refused("a question that is not JSON")),
    }
}

/// The original's answer. Measurements are those of the quote of the last hop, as it was appraised.
fn enclave_info(path: &Path) -> Result<Value, Error> {
    let SgxIdentity { mrenclave, mrsigner, .. } = workload(path)?;
    let hops = path.hops.len();
    Ok(json!({
        "id": "123456",
        "msgtype": "ENCLAVEINFO",
        "version": 1,
        "mrenclave": hex::encode(mrenclave),
        "mrsigner": hex::encode(mrsigner),
        "message": format!("the quotes of {hops} hops were verified by inclavared\n"),
    }))
}

fn workload(path: &Path) -> Result<&SgxIdentity, Error> {
    let appraised = match &path.legacy {
        Some(peer) => Some(&peer.appraised),
        None => path.hops.last().map(|hop| &hop.appraised),
    };
    match appraised.map(|appraised| &appraised.code) {
        Some(CodeIdentity::Sgx(identity)) => Ok(identity),
        _ => {
            let found = appraised.map_or_else(|| "none".to_owned(), |appraised| format!("{:?}", appraised.tee));
            let (what, expected) = ("the workload's TEE", "SGX, the one kind that the original's answer has words for");
            let error = AppraisalError { reason: Reason::Tee, what: what.into(), expected: expected.into(), found };
            Err(Refused::Appraisal(error).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_is_understood() {
        let whole = br#"{"type":"GETENCLAVEINFO"}"#;
        assert_eq!(question(whole).unwrap(), Some(whole.len()));
        for cut in 0..whole.len() {
            assert_eq!(question(&whole[..cut]).unwrap(), None, "{cut}");
        }
        for (other, cause) in [
            (&b"{\"type\":\"hello\"}"[..], "a question other than GETENCLAVEINFO"),
            (b"[1]", "a question other than GETENCLAVEINFO"),
            (b"hello", "a question that is not JSON"),
            (b"\x16\x03\x01", "a question that is not JSON"),
        ] {
            let error = question(other).unwrap_err();
            assert!(matches!(&error, Error::Peer(PeerMisbehaved::Protocol(what)) if what == cause), "{error}");
        }
    }
}

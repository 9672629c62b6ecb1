//! The opening of a path: OPEN down, PREVIEW up, START down (docs/PROTOCOL.md section 4), both halves of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use inclavared_attest::path::{Downstream, Open, Path, Start, client_proof};
use inclavared_attest::policy::{Binding, Policy};
use inclavared_attest::{KeyId, OpenDigest, RecordDigest, Timestamp};
use tokio::time::sleep;

use inclavared_wire::frame::{Admits, Frame, FrameKind};

use crate::error::{Error, PeerMisbehaved};
use crate::leg::{AcceptedLeg, DialledLeg, Leg, out_of_order};
use crate::path::side::Side;
use crate::trust::appraise::{Due, PathCheck, PathContext};
use crate::trust::known_evidence::Held;

/// The START of a client that showed no certificate, in bytes: there is no path behind it to be shown.
const BARE_START: usize = 2048;

/// A path below us, verified, whose first hop waits for START.
#[derive(Debug)]
pub struct OpenedPath {
    pub path: Arc<Path>,
    /// The PREVIEW's payload as it came. Empty once the path was started: nobody asks for it any more.
    pub preview: Bytes,
    pub context: PathContext,
    pub binding: Binding,
}

impl OpenedPath {
    /// What our own record says of it.
    pub fn as_downstream(&self) -> Downstream {
        self.path.as_downstream(self.context.policy.digest(), self.binding)
    }
}

/// The client's half up to PREVIEW: appraises the server, asks for the path, verifies all of it. `have` of `open` is filled
/// in here.
pub async fn open_path(
    side: &Side,
    leg: &mut DialledLeg,
    policy: &Arc<Policy>,
    open: &Open,
    limit: Duration,
) -> Result<OpenedPath, Error> {
    open_path_and_tell(side, leg, policy, open, limit, |_, _| ()).await
}

/// [`open_path`], that tells of its OPEN before it is sent: what rests on it can be made meanwhile.
pub async fn open_path_and_tell(
    side: &Side,
    leg: &mut DialledLeg,
    policy: &Arc<Policy>,
    open: &Open,
    limit: Duration,
    tell: impl FnOnce(&DialledLeg, OpenDigest),
) -> Result<OpenedPath, Error> {
    let peer = &leg.facts.peer;
    let evidence = side.verifier.genuine(peer).await?;
    let held = side.verifier.seen.hold(peer.kid, &evidence, &*side.verifier.appraiser);
    let payload = Open { have: held.digests(), ..open.clone() }.encode();
    let mut context = PathContext {
        policy: Arc::clone(policy),
        nonce: open.nonce,
        leg: leg.facts.leg.id,
        spki: peer.spki.clone(),
        evidence,
        own: leg.facts.leg.client,
        open: Open::digest(&payload),
        held,
    };
    tell(leg, context.open);
    leg.send(FrameKind::Open, &payload).await?;
    let preview = leg.expect(FrameKind::Preview, "the PREVIEW", limit).await?.payload;
    let check = PathCheck { context: context.clone(), trailer: preview.clone(), due: Due::Preview };
    let path = Arc::new(side.verifier.path(check).await?);
    side.verifier.seen.note(&path);
    // From here on the path has what it needs.
    context.held = Held::default();
    Ok(OpenedPath { path, preview, context, binding: open.binding })
}

/// The client's last word before data: everything that the path rests on is checked against the clock again.
///
/// `forward` shows what is behind this process, where it shows evidence of its own.
pub async fn start_path(leg: &mut DialledLeg, opened: &OpenedPath, forward: Option<Vec<u8>>) -> Result<(), Error> {
    if !opened.path.is_current(Timestamp::now()) {
        return Err(Error::PathAge);
    }
    let proof = match &leg.facts.own {
        Some(own) => Some(
            client_proof(&own.key, leg.facts.leg.id, opened.context.open)
                .map_err(|error| Error::Internal(format!("proving our key: {error}")))?,
        ),
        None => None,
    };
    let start = Start { record: opened.path.hops[0].record, client_proof: proof, forward };
    leg.expect_nothing("nothing before the START")?;
    leg.send(FrameKind::Start, &start.encode()).await
}

/// An OPEN that came and may be answered.
#[derive(Debug)]
pub struct Asked {
    pub open: Open,
    pub digest: OpenDigest,
}

/// The server's half: waits for OPEN. `is_mine` knows the keys of this hop: a path that comes back is a loop.
pub async fn receive_open(leg: &mut Leg, limit: Duration, is_mine: impl Fn(&KeyId) -> bool) -> Result<Asked, Error> {
    let payload = leg.expect(FrameKind::Open, "the OPEN", limit).await?.payload;
    let open = Open::decode(&payload)?;
    open.admit(is_mine).map_err(PeerMisbehaved::Open)?;
    Ok(Asked { digest: Open::digest(&payload), open })
}

/// Does `work` for a client and gives up when the client leaves or sends anything before it may.
pub async fn while_client_waits<T>(leg: &mut Leg, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    leg.source.admit(Admits::of(&[FrameKind::Abort, FrameKind::Fault]));
    tokio::select! {
        done = work => done,
        stir = leg.source.frame() => Err(early(stir)),
    }
}

/// The same for a client that speaks no frames: what it sends may come early, so only that it leaves ends the work.
pub async fn while_client_stays<T>(leg: &mut Leg, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let left = async {
        while !leg.source.has_left() {
            sleep(LOOK).await;
        }
    };
    tokio::select! {
        done = work => done,
        () = left => Err(PeerMisbehaved::Closed.into()),
    }
}

/// How soon it is found out that a client without frames has left: no readiness tells it apart from bytes that wait.
const LOOK: Duration = Duration::from_millis(200);

fn early(stir: Result<Frame, Error>) -> Error {
    stir.map_or_else(|error| error, |frame| out_of_order(&frame, "nothing before the PREVIEW", true))
}

/// Waits for START, and checks that it names the record that we showed, and whose key the client holds. Gives what the
/// client shows of the path behind it, unread.
pub async fn receive_start(
    leg: &mut AcceptedLeg,
    asked: &Asked,
    shown: Option<RecordDigest>,
    limit: Duration,
) -> Result<Option<Bytes>, Error> {
    let mut admits = Admits::of(&[FrameKind::Start, FrameKind::Abort, FrameKind::Fault]);
    if leg.facts.peer.is_none() {
        admits = admits.at_most(BARE_START);
    }
    let frame = leg.expect_one_of(admits, FrameKind::Start, "the START", limit).await?;
    let start = Start::decode(&frame.payload)?;
    if Some(start.record) != shown {
        return Err(PeerMisbehaved::Protocol("START names another record than the preview's".to_owned()).into());
    }
    if let Some(peer) = &leg.facts.peer {
        start.verify_client(&peer.spki, leg.facts.leg.id, asked.digest).map_err(PeerMisbehaved::ClientProof)?;
    }
    Ok(start.forward.map(Bytes::from))
}

//! What this hop says of itself on one connection: its preview record, and its final one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use inclavared_attest::path::{
    Downstream, Open, Own, Path, Receipt, Record, SignedRecord, Stage, TlsParameters, Trailer, TrailerLimits, Upstream,
};
use inclavared_attest::{EvidenceDigest, OpenDigest, RecordDigest, SessionId};

use crate::close::Below;
use crate::error::Error;
use crate::identity::HopIdentity;
use crate::leg::LegFacts;

/// One hop's part in one path.
#[derive(Debug)]
pub struct Statement {
    identity: Arc<HopIdentity>,
    role: String,
    session: SessionId,
    upstream: Upstream,
    /// Of the preview, once it is signed.
    preview: Option<RecordDigest>,
    seq: u64,
}

impl Statement {
    /// `open` is what came on the leg `facts`, of which `identity` is the server.
    pub fn new(identity: Arc<HopIdentity>, role: &str, open: &Open, digest: OpenDigest, facts: &LegFacts) -> Self {
        let tls =
            TlsParameters { suite: facts.suite, group: facts.group, alpn: facts.alpn.clone().unwrap_or_default() };
        Self {
            identity,
            role: role.to_owned(),
            session: open.nonce.session(),
            upstream: Upstream { leg: facts.id, peer: facts.client, open: digest, tls },
            preview: None,
            seq: 0,
        }
    }

    /// The PREVIEW's payload: our record before those from below, which have been verified.
    pub fn preview(&mut self, below: &Below) -> Result<Vec<u8>, Error> {
        let (downstream, below, peer) = match below {
            Below::Path(opened) => (opened.as_downstream(), Some(decode(&opened.preview, None)?), None),
            Below::End(end) => (end.downstream.clone(), None, end.evidence.clone()),
        };
        let record = self.sign(Stage::Preview, downstream, depth(below.as_ref()))?;
        self.preview = Some(record.digest());
        let evidence: Arc<[u8]> = self.identity.certificate.evidence().blob().into();
        Ok(on_top(record, below, peer.into_iter().chain([evidence])).encode())
    }

    /// The digest that START has to name.
    pub fn preview_digest(&self) -> Option<RecordDigest> {
        self.preview
    }

    /// The TRAILER's payload. The evidence is left out: whoever reads this has it from the preview.
    pub fn close(
        &mut self,
        downstream: Downstream,
        below: Option<(&Bytes, &Path)>,
        receipt: Receipt,
    ) -> Result<Vec<u8>, Error> {
        let preview = self.preview.ok_or_else(|| Error::Internal("a receipt without a preview".to_owned()))?;
        let below = below.map(|(bytes, path)| decode(bytes, Some(path))).transpose()?;
        self.seq += 1;
        let record = self.sign(Stage::Final { preview, receipt }, downstream, depth(below.as_ref()))?;
        Ok(on_top(record, below, []).encode_without(&|_| true))
    }

    fn sign(&self, stage: Stage, downstream: Downstream, depth: u8) -> Result<SignedRecord, Error> {
        let iat = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Record {
            stage,
            role: self.role.clone(),
            session: self.session,
            depth,
            seq: self.seq,
            iat_ms: u64::try_from(iat.as_millis()).unwrap_or(u64::MAX),
            own: Own {
                spki: self.identity.key.spki().to_vec(),
                evidence: self.identity.certificate.evidence().digest(),
                fresh: None,
            },
            upstream: self.upstream.clone(),
            downstream,
        };
        record.sign(&self.identity.key).map_err(|error| Error::Internal(format!("signing a record: {error}")))
    }
}

fn depth(below: Option<&Trailer>) -> u8 {
    below.map_or(0, |trailer| u8::try_from(trailer.records().len()).unwrap_or(u8::MAX))
}

fn on_top(record: SignedRecord, below: Option<Trailer>, evidence: impl IntoIterator<Item = Arc<[u8]>>) -> Trailer {
    match below {
        Some(mut trailer) => {
            trailer.prepend(record, evidence);
            trailer
        }
        None => Trailer::new(record, evidence),
    }
}

/// Reads a trailer that was verified a moment ago. `path` has the evidence that it leaves out.
fn decode(bytes: &Bytes, path: Option<&Path>) -> Result<Trailer, Error> {
    let known = |name: &EvidenceDigest| {
        let path = path?;
        let hop = path.hops.iter().map(|hop| &hop.evidence).chain(path.legacy.iter().map(|peer| &peer.evidence));
        hop.into_iter().find(|evidence| evidence.digest() == *name).map(|evidence| evidence.blob().into())
    };
    Trailer::decode(bytes, &TrailerLimits::MOST, &known)
        .map_err(|error| Error::Internal(format!("a trailer that was verified does not read again: {error}")))
}

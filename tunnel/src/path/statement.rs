//! What this hop says of itself on one connection: its preview record, those that renew it, and its final one.

use std::sync::Arc;

use bytes::Bytes;
use inclavared_attest::path::{
    Challenge, Downstream, FreshQuote, Kind, Open, Own, Path, Receipt, Record, SignedRecord, Stage, Trailer,
    TrailerLimits, Upstream,
};
use inclavared_attest::policy::Binding;
use inclavared_attest::{Digest, EvidenceDigest, OpenDigest, RecordDigest, SessionId, Timestamp};

use crate::error::Error;
use crate::leg::LegFacts;
use crate::path::close::Below;
use crate::path::quoting::{Fresh, Leaf};
use crate::trust::identity::HopIdentity;

/// One hop's part in one path.
#[derive(Debug)]
pub struct Statement {
    identity: Arc<HopIdentity>,
    role: String,
    session: SessionId,
    upstream: Upstream,
    binding: Binding,
    /// Blobs that the client holds: the PREVIEW goes without them. Empty once it is made.
    have: Vec<Digest>,
    /// Of the preview, once it is signed.
    preview: Option<RecordDigest>,
    /// Of the newest record, or of the one that is being made.
    seq: u64,
}

/// A refresh that is being made: its leaf is known before its quote is.
#[derive(Clone, Debug)]
pub struct Refreshing {
    pub leaf: Leaf,
    seq: u64,
    challenge: Challenge,
}

impl Statement {
    /// `open` is what came on the leg `facts`, of which `identity` is the server.
    pub fn new(identity: Arc<HopIdentity>, role: &str, open: &Open, digest: OpenDigest, facts: &LegFacts) -> Self {
        let tls = facts.parameters();
        Self {
            identity,
            role: role.to_owned(),
            session: open.nonce.session(),
            upstream: Upstream { leg: facts.id, peer: facts.client, open: digest, tls },
            binding: open.binding,
            have: open.have.clone(),
            preview: None,
            seq: 0,
        }
    }

    /// What the client asked for.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// What a fresh quote for the preview has to cover. It does not depend on what lies below.
    pub fn preview_leaf(&self) -> Leaf {
        Leaf::new(&self.identity, (self.upstream.leg, self.upstream.open), Kind::Preview, self.seq, None)
    }

    /// The PREVIEW's payload: our record before those from below, which have been verified.
    pub fn preview(&mut self, below: &Below, fresh: Option<Fresh>) -> Result<Vec<u8>, Error> {
        let (downstream, below, peer) = match below {
            Below::Path(opened) => (opened.as_downstream(), Some(decode(&opened.preview, Some(&opened.path))?), None),
            Below::End(end) => (end.downstream.clone(), None, end.evidence.clone()),
        };
        let (quote, quoted) = apart(fresh);
        let record = self.sign(Stage::Preview, self.seq, quote, downstream, depth(below.as_ref()))?;
        self.preview = Some(record.digest());
        let certificate = &self.identity.certificate;
        let evidence: Arc<[u8]> = certificate.evidence().blob().into();
        let own = [evidence].into_iter().chain(certificate.snp_endorsements().cloned());
        let has = std::mem::take(&mut self.have);
        let trailer = on_top(record, below, peer.into_iter().chain(quoted).chain(own));
        Ok(trailer.encode_without(&|name| has.contains(name)))
    }

    /// The digest that START has to name.
    pub fn preview_digest(&self) -> Option<RecordDigest> {
        self.preview
    }

    /// Begins the answer to a CHALLENGE.
    pub fn begin_refresh(&mut self, challenge: Challenge) -> Refreshing {
        self.seq += 1;
        let leg = (self.upstream.leg, self.upstream.open);
        let leaf = Leaf::new(&self.identity, leg, Kind::Refresh, self.seq, Some(&challenge));
        Refreshing { leaf, seq: self.seq, challenge }
    }

    /// The REFRESH's payload: our record and its fresh quote, before the records from below that answer the same
    /// CHALLENGE and have been verified.
    pub fn refresh(
        &self,
        refreshing: &Refreshing,
        fresh: Fresh,
        downstream: Downstream,
        below: Option<(&Bytes, &Path)>,
    ) -> Result<Vec<u8>, Error> {
        let preview = self.preview.ok_or_else(|| Error::Internal("a refresh without a preview".to_owned()))?;
        let below = below.map(|(bytes, path)| decode(bytes, Some(path))).transpose()?;
        let stage = Stage::Refresh { preview, challenge: Some(refreshing.challenge) };
        let (quote, quoted) = apart(Some(fresh));
        let record = self.sign(stage, refreshing.seq, quote, downstream, depth(below.as_ref()))?;
        Ok(without_shown(&on_top(record, below, quoted)))
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
        let stage = Stage::Final { preview, receipt };
        let record = self.sign(stage, self.seq, None, downstream, depth(below.as_ref()))?;
        Ok(without_shown(&on_top(record, below, [])))
    }

    fn sign(
        &self,
        stage: Stage,
        seq: u64,
        fresh: Option<FreshQuote>,
        downstream: Downstream,
        depth: u8,
    ) -> Result<SignedRecord, Error> {
        let certificate = &self.identity.certificate;
        let sent = certificate.snp_endorsements().filter(|_| stage == Stage::Preview);
        let endorsements = sent.map(|sent| Digest::of(sent));
        let record = Record {
            stage,
            role: self.role.clone(),
            session: self.session,
            depth,
            seq,
            iat_ms: Timestamp::now_ms(),
            own: Own {
                spki: self.identity.key.spki().to_vec(),
                evidence: certificate.evidence().digest(),
                fresh,
                endorsements,
            },
            upstream: self.upstream.clone(),
            downstream,
        };
        record.sign(&self.identity.key).map_err(|error| Error::Internal(format!("signing a record: {error}")))
    }
}

pub(crate) fn apart(fresh: Option<Fresh>) -> (Option<FreshQuote>, Option<Arc<[u8]>>) {
    fresh.map(|Fresh { quote, blob }| (quote, blob)).unzip()
}

/// A later trailer: the evidence that the preview has shown is left out, fresh quotes are not.
fn without_shown(trailer: &Trailer) -> Vec<u8> {
    let own = trailer.records().iter().filter_map(|signed| signed.record().own.fresh.as_ref());
    let fresh: Vec<Digest> = own.map(|fresh| fresh.evidence.0).collect();
    trailer.encode_without(&|name| !fresh.contains(name))
}

pub(crate) fn depth(below: Option<&Trailer>) -> u8 {
    below.map_or(0, |trailer| u8::try_from(trailer.records().len()).unwrap_or(u8::MAX))
}

pub(crate) fn on_top(
    record: SignedRecord,
    below: Option<Trailer>,
    evidence: impl IntoIterator<Item = Arc<[u8]>>,
) -> Trailer {
    match below {
        Some(mut trailer) => {
            trailer.prepend(record, evidence);
            trailer
        }
        None => Trailer::new(record, evidence),
    }
}

/// Reads a trailer that was verified a moment ago. `path` has the evidence that it leaves out.
pub(crate) fn decode(bytes: &Bytes, path: Option<&Path>) -> Result<Trailer, Error> {
    let known = |name: &EvidenceDigest| {
        let path = path?;
        let hop = path.hops.iter().map(|hop| &hop.evidence).chain(path.legacy.iter().map(|peer| &peer.evidence));
        hop.into_iter().find(|evidence| evidence.digest() == *name).map(|evidence| evidence.blob().into())
    };
    Trailer::decode(bytes, &TrailerLimits::MOST, &known)
        .map_err(|error| Error::Internal(format!("a trailer that was verified does not read again: {error}")))
}

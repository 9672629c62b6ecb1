//! A leg between two keys, and what its handshake fixed of them. There is none without these facts: who needs them takes
//! this type, and who only moves bytes takes the [`Leg`] in it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use inclavared_attest::certificate::PeerCertificate;
use inclavared_attest::path::TlsParameters;
use inclavared_attest::{KeyId, LegId, Reason};

use super::Leg;
use crate::error::Error;
use crate::trust::identity::HopIdentity;

/// An established leg with its `facts`: [`AcceptedFacts`] where this process is the server, [`DialledFacts`] where it is
/// the client.
#[derive(Debug)]
pub struct AttestedLeg<Facts> {
    pub leg: Leg,
    /// On the heap: they are let go of before data passes.
    pub facts: Box<Facts>,
}

/// A leg on which this process is the server.
pub type AcceptedLeg = AttestedLeg<AcceptedFacts>;

/// A leg on which this process is the client.
pub type DialledLeg = AttestedLeg<DialledFacts>;

/// What is known at the end of a handshake by its server.
#[derive(Debug)]
pub struct AcceptedFacts {
    pub leg: LegFacts,
    /// The client's certificate, if it showed one. Checked in form and binding; not appraised.
    pub peer: Option<PeerCertificate>,
    /// The identity that we showed.
    pub own: Arc<HopIdentity>,
}

/// What is known at the end of a handshake by its client.
#[derive(Debug)]
pub struct DialledFacts {
    pub leg: LegFacts,
    /// The server's certificate. Checked in form and binding; not appraised.
    pub peer: PeerCertificate,
    /// The identity that we showed, if the server wanted to see one.
    pub own: Option<Arc<HopIdentity>>,
}

/// A TLS session as records name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegFacts {
    pub id: LegId,
    pub server: KeyId,
    pub client: Option<KeyId>,
    pub suite: u16,
    pub group: u16,
    pub alpn: Option<Vec<u8>>,
    pub sni: Option<String>,
}

impl<Facts> AttestedLeg<Facts> {
    pub(crate) fn new(leg: Leg, facts: Facts) -> Self {
        Self { leg, facts: Box::new(facts) }
    }

    /// The leg alone. Who the peer is matters no more once data may pass, and takes kilobytes.
    pub fn forget_the_handshake(self) -> Leg {
        self.leg
    }

    /// [`Leg::abort`].
    pub async fn abort(self, code: Reason, text: &str) {
        self.leg.abort(code, text).await;
    }

    /// [`Leg::close`].
    pub async fn close(self) {
        self.leg.close().await;
    }

    /// [`Leg::fail`].
    pub async fn fail(self, error: &Error, disclose: bool) {
        self.leg.fail(error, disclose).await;
    }
}

impl<Facts> Deref for AttestedLeg<Facts> {
    type Target = Leg;

    fn deref(&self) -> &Leg {
        &self.leg
    }
}

impl<Facts> DerefMut for AttestedLeg<Facts> {
    fn deref_mut(&mut self) -> &mut Leg {
        &mut self.leg
    }
}

impl LegFacts {
    /// What the handshake agreed on.
    pub(crate) fn parameters(&self) -> TlsParameters {
        TlsParameters { suite: self.suite, group: self.group, alpn: self.alpn.clone().unwrap_or_default() }
    }
}

//! The reason codes that errors carry: one number on the wire (FAULT, ABORT), one label in metrics and logs.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal;)*) => {
        /// Why something was refused or ended. Codes are stable: `docs/PROTOCOL.md` lists them.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum Reason { $($(#[$doc])* $name = $code,)* }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// An unknown code of a newer peer is `Unknown`.
            pub fn from_code(code: u64) -> Self {
                match code {
                    $($code => Self::$name,)*
                    _ => Self::Unknown,
                }
            }

            pub const fn code(self) -> u16 {
                self as u16
            }

            /// The label in metrics, logs and JSON.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

reasons! {
    Unknown = 0, "unknown";

    // The session: whose fault is said by who sends it.
    /// A frame, message or field that the protocol does not allow here.
    Protocol = 1, "protocol";
    Version = 2, "version";
    Deadline = 3, "deadline";
    /// A permit, queue or limit is used up.
    Overload = 4, "overload";
    Loop = 5, "loop";
    Ttl = 6, "ttl";
    /// A stream ended without its END, or a leg without close_notify.
    Truncated = 7, "truncated";
    /// The next hop or the workload cannot be reached.
    Unreachable = 8, "unreachable";
    Internal = 9, "internal";
    /// The client left before START.
    Cancelled = 10, "cancelled";
    Tls = 11, "tls";
    Shutdown = 12, "shutdown";
    Idle = 13, "idle";
    /// A peer that speaks no `inclavared/1` where the route demands it.
    LegacyDenied = 14, "legacy-denied";
    Reset = 15, "reset";

    // Evidence and its appraisal.
    NoEvidence = 20, "no-evidence";
    EvidenceForm = 21, "evidence-form";
    /// The evidence does not speak of the key that holds the session.
    Binding = 22, "binding";
    /// No collateral could be had, or it is not valid.
    Collateral = 23, "collateral";
    /// A signature of the quote or of its certificate chain does not hold.
    QuoteSignature = 24, "quote-signature";
    TcbStatus = 25, "tcb-status";
    Debug = 26, "debug";
    Simulated = 27, "simulated";
    Measurement = 28, "measurement";
    Identity = 29, "identity";
    Expired = 30, "expired";
    Tee = 31, "tee";
    Null = 32, "null";
    ConfigDigest = 33, "config-digest";
    Advisory = 34, "advisory";
    Role = 35, "role";

    // The path.
    PathForm = 40, "path-form";
    RecordSignature = 41, "record-signature";
    /// A record, key, leg or blob is not the one that the record above it names.
    PathChain = 42, "path-chain";
    Freshness = 43, "freshness";
    Shape = 44, "shape";
    Receipt = 45, "receipt";
    BindingLevel = 46, "binding-level";
    PathAge = 47, "path-age";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_labels_are_unique() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_code(u64::from(a.code())), *a);
            for b in &Reason::ALL[i + 1..] {
                assert_ne!(a.code(), b.code());
                assert_ne!(a.label(), b.label());
            }
        }
        assert_eq!(Reason::from_code(9999), Reason::Unknown);
    }
}

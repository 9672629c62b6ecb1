//! The attested path: legs, records, the trailer, and its verification (docs/PROTOCOL.md sections 3 to 6).

//! Strict deterministic CBOR (RFC 8949 section 4.2.1): what is not in that form is refused before it is read.

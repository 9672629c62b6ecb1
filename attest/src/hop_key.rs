//! The key of a hop: ECDSA P-256, made in the process, in memory only.

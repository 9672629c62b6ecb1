//! The simulated platform: evidence in the real format under a root of its own.

//! What can be read off a quote without judging it.

//! Hop certificates: issued around evidence, parsed strictly.

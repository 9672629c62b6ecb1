//! A trailer with any of its bits changed, or cut anywhere, is refused, and never panics.

use std::sync::LazyLock;

use inclavared_attest::path::{Expects, Trailer, TrailerLimits, no_known_blobs, verify_path};
use proptest::prelude::*;

use crate::chain::Chain;
use crate::world::{NOW, WORLD, policy};

static CHAIN: LazyLock<(Chain, Vec<u8>)> = LazyLock::new(|| {
    let chain = Chain::new(NOW, &WORLD.attesters(3));
    let bytes = chain.preview().encode();
    (chain, bytes)
});

fn accepted(bytes: &[u8]) -> bool {
    let input = CHAIN.0.input(bytes, Expects::Preview);
    verify_path(&input, &policy(), &WORLD.appraiser).is_ok()
}

#[test]
fn every_byte_counts() {
    let bytes = &CHAIN.1;
    assert!(accepted(bytes));
    // Cheap: all but the records fail before any signature is looked at.
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(!accepted(&changed), "byte {at} of {}", bytes.len());
    }
}

proptest! {
    #[test]
    fn no_bit_can_be_changed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut changed = CHAIN.1.clone();
        *at.get_mut(&mut changed) ^= 1 << bit;
        prop_assert!(!accepted(&changed));
    }

    #[test]
    fn no_part_can_be_cut_or_added(at in any::<prop::sample::Index>(), more in any::<u8>()) {
        let at = at.index(CHAIN.1.len());
        prop_assert!(!accepted(&CHAIN.1[..at]));
        let mut longer = CHAIN.1.clone();
        longer.insert(at, more);
        prop_assert!(!accepted(&longer));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(Trailer::decode(&bytes, &TrailerLimits::DEFAULT, &no_known_blobs).is_err());
    }
}

#[test]
fn what_is_decoded_encodes_to_the_same_bytes() {
    let trailer = Trailer::decode(&CHAIN.1, &TrailerLimits::DEFAULT, &no_known_blobs).unwrap();
    assert_eq!(trailer.encode(), CHAIN.1);
}

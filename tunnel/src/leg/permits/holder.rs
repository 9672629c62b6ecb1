//! For whom places are counted.

use std::net::{IpAddr, Ipv6Addr};

use inclavared_attest::KeyId;

/// Whose a place is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Holder {
    pub who: Who,
    /// Nobody has admitted the client for whom it is: a share of all places is kept from those.
    pub stranger: bool,
}

/// Who shares a part of the places.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Who {
    /// A client, or all behind one address that share it.
    Address(IpAddr),
    /// A hop whose evidence was admitted. It is fair among its own sources, which it alone knows.
    Hop(KeyId),
    /// The local applications of one plain listener, by the place of its route in the configuration.
    Listener(usize),
    /// Whoever comes over a Unix socket to a listener that is not plain.
    Local,
}

impl Holder {
    pub fn stranger(who: Who) -> Self {
        Self { who, stranger: true }
    }

    pub fn admitted(who: Who) -> Self {
        Self { who, stranger: false }
    }
}

/// What counts as one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sources {
    /// Leading bits of an IPv6 address: whoever has one has all that share them.
    pub ipv6_prefix: u8,
}

impl Sources {
    /// A peer without an address came over a Unix socket.
    pub fn of(self, address: Option<IpAddr>) -> Who {
        match address.map(|address| address.to_canonical()) {
            None => Who::Local,
            Some(IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.ipv6_prefix.min(128))).unwrap_or(0);
                Who::Address(Ipv6Addr::from_bits(address.to_bits() & mask).into())
            }
            Some(v4) => Who::Address(v4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_prefix_are_one() {
        let who = |prefix, address: &str| Sources { ipv6_prefix: prefix }.of(Some(address.parse().unwrap()));
        assert_eq!(who(64, "2001:db8:1:2::1"), who(64, "2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(who(64, "2001:db8:1:2::1"), who(64, "2001:db8:1:3::1"));
        assert_eq!(who(48, "2001:db8:1:2::1"), who(48, "2001:db8:1:3::1"));
        assert_ne!(who(128, "2001:db8::1"), who(128, "2001:db8::2"));
        assert_eq!(who(1, "2001:db8::1"), who(1, "2a00::1"));
        // IPv4, also where it comes as IPv6.
        assert_eq!(who(64, "::ffff:192.0.2.1"), who(64, "192.0.2.1"));
        assert_ne!(who(64, "192.0.2.1"), who(64, "192.0.2.2"));
        assert_eq!(Sources { ipv6_prefix: 64 }.of(None), Who::Local);
    }
}

//! AMD's roots of trust.

use super::SnpProduct;
use crate::appraise::Root;

/// An AMD root key (ARK): it signs for one line of processors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AmdRoot {
    pub product: SnpProduct,
    /// The certificate.
    pub der: Vec<u8>,
    /// AMD's own, or a simulated one: what ends in it is called so.
    pub root: Root,
}

/// The roots of all products, as AMD's key service hands them out (`https://kdsintf.amd.com/vcek/v1/{product}/cert_chain`,
/// the second certificate), taken from the package `sev` of the virtee project, version 8.0.0.
pub fn amd_roots() -> Vec<AmdRoot> {
    SnpProduct::ALL.map(|product| AmdRoot { product, der: pinned(product).to_vec(), root: Root::Amd }).into()
}

const fn pinned(product: SnpProduct) -> &'static [u8] {
    match product {
        SnpProduct::Milan => include_bytes!("ark_milan.der"),
        SnpProduct::Genoa => include_bytes!("ark_genoa.der"),
        SnpProduct::Turin => include_bytes!("ark_turin.der"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    #[test]
    fn they_are_the_published_ones() {
        for (product, fingerprint, end) in [
            (
                SnpProduct::Milan,
                "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
                "2045-10-22T17:23:05Z",
            ),
            (
                SnpProduct::Genoa,
                "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
                "2047-01-26T15:34:37Z",
            ),
            (
                SnpProduct::Turin,
                "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
                "2048-05-15T20:03:12Z",
            ),
        ] {
            let root = amd_roots().into_iter().find(|root| root.product == product).unwrap();
            assert_eq!(Digest::of(&root.der).to_string(), fingerprint);
            let (_, until) = crate::appraise::certificate_window(&root.der).unwrap();
            assert_eq!(until.to_string(), end);
        }
    }
}

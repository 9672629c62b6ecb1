//! Both backends say the same of every signature, good or bad, and take each other's keys.

use super::{Scheme, aws_lc, rustcrypto};

const MESSAGE: &[u8] = b"what both of them are shown";

/// What both say; they may not differ.
fn both(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let verdicts =
        (aws_lc::verifies(scheme, key, message, signature), rustcrypto::verifies(scheme, key, message, signature));
    assert_eq!(verdicts.0, verdicts.1, "{scheme:?}: key {}, signature {}", hex::encode(key), hex::encode(signature));
    verdicts.0
}

/// A good signature is good; with any byte of it, of the key or of the message changed, or with bytes more or fewer, it is
/// not.
fn holds(scheme: Scheme, key: &[u8], signature: &[u8]) {
    assert!(both(scheme, key, MESSAGE, signature), "{scheme:?}");
    // RSA is slow, and its bytes are alike.
    let step = if key.len() > 100 { 23 } else { 1 };
    for at in (0..signature.len()).step_by(step) {
        for change in [1, 0x80] {
            let mut changed = signature.to_vec();
            changed[at] ^= change;
            assert!(!both(scheme, key, MESSAGE, &changed), "{scheme:?}: byte {at} of the signature");
        }
    }
    for at in (0..key.len()).step_by(step) {
        let mut changed = key.to_vec();
        changed[at] ^= 0x40;
        assert!(!both(scheme, &changed, MESSAGE, signature), "{scheme:?}: byte {at} of the key");
    }
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    assert!(!both(scheme, key, &longer(MESSAGE), signature));
    assert!(!both(scheme, key, MESSAGE, &longer(signature)));
    assert!(!both(scheme, key, MESSAGE, &[&[0], signature].concat()));
    assert!(!both(scheme, key, MESSAGE, &signature[..signature.len() - 1]));
    assert!(!both(scheme, key, MESSAGE, &vec![0; signature.len()]));
    assert!(!both(scheme, key, MESSAGE, &[]));
    assert!(!both(scheme, &longer(key), MESSAGE, signature));
    assert!(!both(scheme, &[], MESSAGE, signature));
}

#[test]
fn hashes_are_the_same() {
    for bytes in [&b""[..], b"abc", &[7; 1000]] {
        assert_eq!(aws_lc::sha256(bytes), rustcrypto::sha256(bytes));
        assert_eq!(aws_lc::sha384(bytes), rustcrypto::sha384(bytes));
        let (mut one, mut other) = (aws_lc::Sha256::new(), rustcrypto::Sha256::new());
        bytes.chunks(7).for_each(|part| one.update(part));
        bytes.chunks(64).for_each(|part| other.update(part));
        assert_eq!(one.finish(), aws_lc::sha256(bytes));
        assert_eq!(other.finish(), aws_lc::sha256(bytes));
    }
}

#[test]
fn ecdsa_on_p256() {
    let made = [aws_lc::P256Key::generate().unwrap().pkcs8().clone(), {
        let key = rustcrypto::P256Key::generate().unwrap();
        key.pkcs8().clone()
    }];
    for pkcs8 in made {
        let (one, other) =
            (aws_lc::P256Key::from_pkcs8(&pkcs8).unwrap(), rustcrypto::P256Key::from_pkcs8(&pkcs8).unwrap());
        assert_eq!(one.point(), other.point());
        for fixed in [one.sign_fixed(MESSAGE).unwrap(), other.sign_fixed(MESSAGE).unwrap()] {
            holds(Scheme::P256Sha256Fixed, one.point(), &fixed);
            assert!(!both(Scheme::P256Sha256Asn1, one.point(), MESSAGE, &fixed));
        }
        for asn1 in [one.sign_asn1(MESSAGE).unwrap(), other.sign_asn1(MESSAGE).unwrap()] {
            holds(Scheme::P256Sha256Asn1, one.point(), &asn1);
            assert!(!both(Scheme::P256Sha256Fixed, one.point(), MESSAGE, &asn1));
        }
    }
}

#[test]
fn ecdsa_on_p384() {
    let made = [aws_lc::P384Key::generate().unwrap().to_pkcs8(), rustcrypto::P384Key::generate().unwrap().to_pkcs8()];
    for pkcs8 in made {
        let pkcs8 = pkcs8.unwrap();
        let (one, other) =
            (aws_lc::P384Key::from_pkcs8(&pkcs8).unwrap(), rustcrypto::P384Key::from_pkcs8(&pkcs8).unwrap());
        assert_eq!(one.point(), other.point());
        for fixed in [one.sign_fixed(MESSAGE).unwrap(), other.sign_fixed(MESSAGE).unwrap()] {
            holds(Scheme::P384Sha384Fixed, one.point(), &fixed);
        }
        for asn1 in [one.sign_asn1(MESSAGE).unwrap(), other.sign_asn1(MESSAGE).unwrap()] {
            holds(Scheme::P384Sha384Asn1, one.point(), &asn1);
            assert!(!both(Scheme::P384Sha256Asn1, one.point(), MESSAGE, &asn1), "another hash");
        }
    }
}

/// Compressed points are keys; the forms that certificates never have are not.
#[test]
fn encodings_of_points() {
    let key = aws_lc::P256Key::generate().unwrap();
    let signature = key.sign_asn1(MESSAGE).unwrap();
    let (x, y) = key.point()[1..].split_at(32);
    let odd = y[31] & 1;
    let with = |form: u8, rest: &[u8]| [&[form], rest].concat();
    assert!(both(Scheme::P256Sha256Asn1, &with(2 + odd, x), MESSAGE, &signature));
    assert!(!both(Scheme::P256Sha256Asn1, &with(3 - odd, x), MESSAGE, &signature));
    for form in [0, 1, 5, 6, 7, 8] {
        assert!(!both(Scheme::P256Sha256Asn1, &with(form, x), MESSAGE, &signature), "form {form}");
        assert!(!both(Scheme::P256Sha256Asn1, &with(form, &key.point()[1..]), MESSAGE, &signature), "form {form}");
    }
    assert!(!both(Scheme::P256Sha256Asn1, &[0], MESSAGE, &signature), "the point at infinity");
}

/// BER is not DER: a length in its long form, or a number with a zero too many in front.
#[test]
fn encodings_of_signatures() {
    let key = aws_lc::P256Key::generate().unwrap();
    let fixed = key.sign_fixed(MESSAGE).unwrap();
    let number = |bytes: &[u8], padding: usize| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        let sign = usize::from(bytes.get(start).is_some_and(|byte| byte & 0x80 != 0));
        let content = [vec![0; padding + sign], bytes[start..].to_vec()].concat();
        [vec![2, content.len() as u8], content].concat()
    };
    let sequence = |padding| {
        let content = [number(&fixed[..32], padding), number(&fixed[32..], 0)].concat();
        [vec![0x30, content.len() as u8], content].concat()
    };
    let scheme = Scheme::P256Sha256Asn1;
    assert!(both(scheme, key.point(), MESSAGE, &sequence(0)));
    assert!(!both(scheme, key.point(), MESSAGE, &sequence(1)));
    let good = sequence(0);
    assert!(!both(scheme, key.point(), MESSAGE, &[&[0x30, 0x81], &good[1..]].concat()));
    // r = 0, s = 0, and numbers that are the order of the curve or more.
    for numbers in [[[0; 32], [1; 32]], [[1; 32], [0; 32]], [[0xff; 32], [1; 32]], [[1; 32], [0xff; 32]]] {
        assert!(!both(Scheme::P256Sha256Fixed, key.point(), MESSAGE, &numbers.concat()));
    }
}

#[test]
fn rsa() {
    let made = [aws_lc::RsaKey::generate_2048().unwrap().pkcs8(), rustcrypto::RsaKey::generate_2048().unwrap().pkcs8()];
    for pkcs8 in made {
        let pkcs8 = pkcs8.unwrap();
        let one = aws_lc::RsaKey::from_pkcs8(&pkcs8).unwrap();
        let other = rustcrypto::RsaKey::from_pkcs8(&pkcs8).unwrap();
        assert_eq!(one.public_pkcs1(), other.public_pkcs1());
        for pkcs1 in [one.sign_pkcs1_sha256(MESSAGE).unwrap(), other.sign_pkcs1_sha256(MESSAGE).unwrap()] {
            holds(Scheme::RsaPkcs1Sha256, one.public_pkcs1(), &pkcs1);
            assert!(!both(Scheme::RsaPkcs1Sha384, one.public_pkcs1(), MESSAGE, &pkcs1), "another hash");
            assert!(!both(Scheme::RsaPssSha384, one.public_pkcs1(), MESSAGE, &pkcs1), "another padding");
            // SEQUENCE { INTEGER modulus of 257 bytes, INTEGER exponent }.
            let (modulus, exponent) = (&one.public_pkcs1()[9..265], &one.public_pkcs1()[267..]);
            for (modulus, holds) in [(modulus, true), (&modulus[1..], false), (&[][..], false)] {
                assert_eq!(aws_lc::verifies_rsa_numbers(modulus, exponent, MESSAGE, &pkcs1), holds);
                assert_eq!(rustcrypto::verifies_rsa_numbers(modulus, exponent, MESSAGE, &pkcs1), holds);
            }
        }
        for pss in [one.sign_pss_sha384(MESSAGE).unwrap(), other.sign_pss_sha384(MESSAGE).unwrap()] {
            holds(Scheme::RsaPssSha384, one.public_pkcs1(), &pss);
        }
    }
}

/// RSA of 1024 bits is refused, whoever made a good signature with it.
#[test]
fn rsa_too_short() {
    use rsa::pkcs1::EncodeRsaPublicKey as _;
    let key = rsa::PrivateKey::new(&mut p256::elliptic_curve::common::getrandom::SysRng, 1024).unwrap();
    let signature = key.pkcs1v15_sign::<sha2::Sha256>(MESSAGE).unwrap();
    let public = key.to_public_key().to_pkcs1_der().unwrap();
    assert!(!both(Scheme::RsaPkcs1Sha256, public.as_bytes(), MESSAGE, &signature));
}

/// Every algorithm for chains of names that Rust alone verifies is one that aws-lc verifies.
#[test]
fn chains() {
    for algorithm in rustcrypto::chain_algorithms() {
        let known = aws_lc::chain_algorithms().iter().any(|known| {
            (known.public_key_alg_id(), known.signature_alg_id())
                == (algorithm.public_key_alg_id(), algorithm.signature_alg_id())
        });
        assert!(known, "{algorithm:?}");
    }
}

#[test]
fn ed25519() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let (der, public) = (key.serialized_der(), rcgen::PublicKeyData::der_bytes(&key));
    let made = [
        aws_lc::Ed25519Key::from_pkcs8(der).unwrap().sign(MESSAGE),
        rustcrypto::Ed25519Key::from_pkcs8(der).unwrap().sign(MESSAGE),
    ];
    assert_eq!(made[0], made[1], "it is deterministic");
    for algorithm in [aws_lc::ED25519, rustcrypto::ED25519] {
        assert!(algorithm.verify_signature(public, MESSAGE, &made[0]).is_ok());
        assert!(algorithm.verify_signature(public, b"another", &made[0]).is_err());
        assert!(algorithm.verify_signature(&public[1..], MESSAGE, &made[0]).is_err());
        for at in 0..64 {
            let mut changed = made[0].clone();
            changed[at] ^= 1;
            assert!(algorithm.verify_signature(public, MESSAGE, &changed).is_err(), "byte {at}");
        }
    }
}

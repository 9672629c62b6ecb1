"""A peer that follows the certificate rules of rats-tls and librats, over quotes of a simulated platform.

    certificate PLATFORM DONOR OUT KEY [WORD ...]   a certificate (OUT.pem, OUT.key); KEY: p256, p384 or rsa3072
    verify PLATFORM CERTIFICATE                     `accepted MRENCLAVE`, or `refused CAUSE` and exit status 1
    client PLATFORM ADDRESS CERTIFICATE KEY         verifies the server, then trades as peer.py does
    shelter PLATFORM ADDRESS [QUESTION]             as Inclavare's first shelter: verifies the old form of certificate, asks
                                                    for the enclave's measurements, prints the answer

DONOR is any certificate with a quote of that platform: what the quote says of the code is taken from it, and a quoting
enclave of this program's own, certified by the platform's key, says it anew. Each WORD is `endorse` or one of the lies.
"""

import hashlib
import json
import os
import ssl
import socket
import struct
import sys
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import NameOID

LEGACY_QUOTE = x509.ObjectIdentifier("1.2.840.113741.1337.6")
EVIDENCE = x509.ObjectIdentifier("2.23.133.5.4.9")
ENDORSEMENTS = x509.ObjectIdentifier("2.23.133.5.4.2")
# Where rats-tls has 60000, an Intel quote: what a simulated platform makes has a tag of its own.
SIMULATED = 60900
SHA_256, SHA_384 = 1, 7

LIES = {
    "key-hash",
    "hash-algorithm",
    "claims",
    "no-claim",
    "real-tag",
    "report-tag",
    "padding",
    "signed-by-other",
    "user-data-tail",
}


# ---- CBOR, the little of it that there is in evidence


def head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for size, letter in ((1, "B"), (2, ">H"), (4, ">I"), (8, ">Q")):
        if value < 1 << 8 * size:
            return bytes([major << 5 | 23 + size.bit_length()]) + struct.pack(letter, value)
    raise ValueError(value)


def binary(value):
    return head(2, len(value)) + value


def text(value):
    return head(3, len(value)) + value.encode()


def array(*items):
    return head(4, len(items)) + b"".join(items)


def mapping(entries):
    return head(5, len(entries)) + b"".join(text(name) + binary(value) for name, value in entries)


def tagged(tag, item):
    return head(6, tag) + item


class Reader:
    """Definite lengths alone, as rats-tls reads them."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def head(self, major):
        first = self.take(1)[0]
        need(first >> 5 == major, f"CBOR: major type {first >> 5} where {major} was to come")
        short = first & 31
        if short < 24:
            return short
        need(short < 28, "CBOR: indefinite length")
        return int.from_bytes(self.take(1 << short - 24), "big")

    def take(self, count):
        need(self.at + count <= len(self.data), "CBOR: it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def string(self, major):
        return self.take(self.head(major))

    def end(self):
        need(self.at == len(self.data), "CBOR: bytes after the end")


# ---- quotes (SGX, version 3)

HEADER, BODY = 48, 384
REPORT_DATA = HEADER + 320
MRENCLAVE = slice(HEADER + 64, HEADER + 96)
SIGNED = HEADER + BODY
SIGNATURE, ATTESTATION_KEY, QE_REPORT = SIGNED + 4, SIGNED + 68, SIGNED + 132
QE_SIGNATURE, QE_AUTH = QE_REPORT + BODY, QE_REPORT + BODY + 64


def quote_over(platform, donor, user_data, pck=None):
    """What the donor's quote says, said by an enclave of our own, with this user data."""
    made = bytearray(donor)
    made[REPORT_DATA : REPORT_DATA + 64] = user_data
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    made[ATTESTATION_KEY:QE_REPORT] = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    made[SIGNATURE:ATTESTATION_KEY] = raw_signature(key, bytes(made[:SIGNED]))
    auth = made[QE_AUTH + 2 : QE_AUTH + 2 + int.from_bytes(made[QE_AUTH : QE_AUTH + 2], "little")]
    bound = hashlib.sha256(bytes(made[ATTESTATION_KEY:QE_REPORT]) + auth).digest()
    made[QE_REPORT + 320 : QE_REPORT + 384] = bound + bytes(32)
    pck = pck or load_key(os.path.join(platform, "keys", "pck.pem"))
    made[QE_SIGNATURE:QE_AUTH] = raw_signature(pck, bytes(made[QE_REPORT:QE_SIGNATURE]))
    return bytes(made)


def raw_signature(key, message):
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def check_raw(key, signature, message, what):
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    check(key, encode_dss_signature(r, s), message, what)


def check(key, signature, message, what):
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused(f"{what}: the signature does not hold") from None


def check_quote(platform, quote):
    """The chain from the quote to the platform's root; its TCB is nobody's matter here. Gives the user data."""
    need(len(quote) > QE_AUTH + 2, "quote: too short")
    need(quote[:2] == b"\x03\x00" and quote[2:4] == b"\x02\x00", "quote: not an SGX ECDSA quote of version 3")
    length = int.from_bytes(quote[SIGNED : SIGNED + 4], "little")
    need(len(quote) == SIGNED + 4 + length, "quote: not cut to its length")
    point = b"\x04" + quote[ATTESTATION_KEY:QE_REPORT]
    attestation = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    check_raw(attestation, quote[SIGNATURE:ATTESTATION_KEY], quote[:SIGNED], "quote")
    size = int.from_bytes(quote[QE_AUTH : QE_AUTH + 2], "little")
    auth, rest = quote[QE_AUTH + 2 : QE_AUTH + 2 + size], quote[QE_AUTH + 2 + size :]
    bound = hashlib.sha256(quote[ATTESTATION_KEY:QE_REPORT] + auth).digest() + bytes(32)
    need(quote[QE_REPORT + 320 : QE_REPORT + 384] == bound, "quote: the quoting enclave's report is of another key")
    need(rest[:2] == b"\x05\x00", "quote: no certificates")
    chain = x509.load_pem_x509_certificates(rest[6:].rstrip(b"\0"))
    check_raw(chain[0].public_key(), quote[QE_SIGNATURE:QE_AUTH], quote[QE_REPORT:QE_SIGNATURE], "quoting enclave")
    root = load_certificate(os.path.join(platform, "root.pem"))
    need(chain[-1] == root, "quote: another root")
    for issued, issuer in zip(chain, [*chain[1:], root]):
        issued.verify_directly_issued_by(issuer)
    return quote[REPORT_DATA : REPORT_DATA + 64]


# ---- certificates


def make(platform, donor, kind, words):
    lies = set(words) - {"endorse"}
    need(lies <= LIES, f"no such lie: {lies - LIES}")
    key = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    }[kind]()
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    hashed = hashlib.sha256(b"another key" if "key-hash" in lies else spki).digest()
    key_hash = array(head(0, SHA_256), binary(hashed))
    if "hash-algorithm" in lies:
        key_hash = array(head(0, SHA_384), binary(hashlib.sha384(spki).digest()))
    # rats-tls lets its user add claims: they follow.
    entries = [("pubkey-hash", key_hash), ("x-custom", b"of the peer's own")]
    claims = mapping(entries[1:] if "no-claim" in lies else entries)
    user_data = hashlib.sha256(claims).digest() + (b"\x01" * 32 if "user-data-tail" in lies else bytes(32))
    other = ec.generate_private_key(ec.SECP256R1()) if "signed-by-other" in lies else None
    quote = quote_over(platform, evidence_of(donor)[1], user_data, other)
    if "claims" in lies:
        claims = mapping([*entries, ("x-more", b"added after the quote")])
    if "padding" in lies:
        quote += bytes(64)
    tag = 60000 if "real-tag" in lies else 60001 if "report-tag" in lies else SIMULATED
    extensions = [(EVIDENCE, tagged(tag, array(binary(quote), binary(claims))))]
    if "endorse" in words:
        extensions.append((ENDORSEMENTS, endorsements(platform)))
    return key, certificate(key, extensions)


def certificate(key, extensions):
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Inclavare Containers"),
            x509.NameAttribute(NameOID.COMMON_NAME, "RATS-TLS"),
        ]
    )
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for oid, value in extensions:
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    return builder.sign(key, hashes.SHA256())


def endorsements(platform):
    with open(os.path.join(platform, "collateral-sgx.json")) as file:
        found = json.load(file)

    def signed(name, member):
        return json.dumps({member: "@", "signature": found[f"{name}_signature"]}).replace('"@"', found[name]).encode()

    fields = [
        signed("tcb_info", "tcbInfo"),
        found["tcb_info_issuer_chain"].encode(),
        bytes.fromhex(found["pck_crl"]),
        bytes.fromhex(found["root_ca_crl"]),
        found["pck_crl_issuer_chain"].encode(),
        signed("qe_identity", "enclaveIdentity"),
        found["qe_identity_issuer_chain"].encode(),
    ]
    # libcbor writes the version in four bytes, whatever it is.
    version = b"\x1a" + struct.pack(">I", 3)
    return tagged(SIMULATED, array(version, *map(binary, fields)))


def evidence_of(found):
    """Tag, quote, claims."""
    reader = Reader(found.extensions.get_extension_for_oid(EVIDENCE).value.value)
    tag = reader.head(6)
    need(reader.head(4) == 2, "evidence: not two parts")
    quote, claims = reader.string(2), reader.string(2)
    reader.end()
    return tag, quote, claims


def verify(platform, found):
    """As rats-tls verifies a peer's certificate (OpenSSL's checks, and then those of the extension)."""
    need(found.version == x509.Version.v3 and found.subject == found.issuer, "certificate: not self-signed")
    now = datetime.now(timezone.utc)
    need(found.not_valid_before_utc <= now <= found.not_valid_after_utc, "certificate: out of its window")
    known = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
    need(all(not e.critical or isinstance(e.value, known) for e in found.extensions), "certificate: critical extension")
    check(found.public_key(), found.signature, found.tbs_certificate_bytes, "certificate")
    tag, quote, claims = evidence_of(found)
    need(tag == SIMULATED, f"evidence: tag {tag}")
    user_data = check_quote(platform, quote)
    need(user_data[:32] == hashlib.sha256(claims).digest(), "evidence: user data are not the hash of the claims")
    reader, entries = Reader(claims), {}
    for _ in range(reader.head(5)):
        name = reader.string(3).decode()
        entries[name] = reader.string(2)
    reader.end()
    need("pubkey-hash" in entries, "claims: no hash of the key")
    key_hash = Reader(entries["pubkey-hash"])
    need(key_hash.head(4) == 2 and key_hash.head(0) == SHA_256, "claims: another hash of the key")
    spki = found.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    need(key_hash.string(2) == hashlib.sha256(spki).digest(), "claims: the hash of another key")
    return quote[MRENCLAVE].hex()


def verify_legacy(platform, found):
    """As enclave-tls verifies a certificate: the quote, and that it is over the RSA key in PKCS#1."""
    need(found.subject == found.issuer, "certificate: not self-signed")
    check(found.public_key(), found.signature, found.tbs_certificate_bytes, "certificate")
    quote = found.extensions.get_extension_for_oid(LEGACY_QUOTE).value.value
    user_data = check_quote(platform, quote)
    need(isinstance(found.public_key(), rsa.RSAPublicKey) and found.public_key().key_size == 3072, "key: not RSA-3072")
    pkcs1 = found.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    need(len(pkcs1) == 398, "key: not of the length that enclave-tls wants")
    need(user_data[:32] == hashlib.sha256(pkcs1).digest(), "quote: the hash of another key")
    return quote[MRENCLAVE].hex()


class Refused(Exception):
    pass


def need(holds, cause):
    if not holds:
        raise Refused(cause)


def load_key(file):
    with open(file, "rb") as content:
        return serialization.load_pem_private_key(content.read(), None)


def load_certificate(file):
    with open(file, "rb") as content:
        return x509.load_pem_x509_certificate(content.read())


def client(platform, address, own, key):
    import peer

    host, port = address.rsplit(":", 1)
    context = peer.context(ssl.PROTOCOL_TLS_CLIENT, "-", own, key)
    raw = socket.create_connection((host, int(port)), timeout=peer.PATIENCE)
    try:
        tls = context.wrap_socket(raw, suppress_ragged_eofs=False)
        print("accepted", verify(platform, x509.load_der_x509_certificate(tls.getpeercert(True))), file=sys.stderr)
        sent = sys.stdin.buffer.read()
        peer.Stream(tls).talk(sent, sys.stdout.buffer.write, until=len(sent))
        sys.stdout.buffer.flush()
    except OSError as error:
        print("end", peer.named(error), file=sys.stderr)
        sys.exit(1)
    print("end close_notify", file=sys.stderr)


def shelter(platform, address, question='{"type":"GETENCLAVEINFO"}'):
    import peer

    host, port = address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection((host, int(port)), timeout=peer.PATIENCE)
    try:
        tls = context.wrap_socket(raw, suppress_ragged_eofs=False)
        print(tls.version(), verify_legacy(platform, x509.load_der_x509_certificate(tls.getpeercert(True))))
        tls.sendall(question.encode())
        print(tls.recv(2047).decode())
        need(tls.recv(1) == b"", "more than an answer")
    except OSError as error:
        print("end", peer.named(error))
        sys.exit(1)


def main():
    role, *words = sys.argv[1:]
    if role == "certificate":
        platform, donor, out, kind = words[:4]
        key, made = make(platform, load_certificate(donor), kind, words[4:])
        with open(f"{out}.pem", "wb") as file:
            file.write(made.public_bytes(serialization.Encoding.PEM))
        with open(f"{out}.key", "wb") as file:
            pkcs8 = serialization.PrivateFormat.PKCS8
            file.write(key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption()))
    elif role == "verify":
        try:
            print("accepted", verify(words[0], load_certificate(words[1])))
        except Refused as cause:
            print("refused", cause)
            sys.exit(1)
    elif role == "shelter":
        shelter(*words)
    else:
        client(*words)


if __name__ == "__main__":
    main()

//! The SGX extension of a PCK certificate (Intel, "SGX PCK Certificate and CRL Profile", 1.2.840.113741.1.13.1).

/// The platform as its PCK certificate describes it.
pub(super) struct PckPlatform {
    pub(super) ppid: [u8; 16],
    pub(super) instance_id: [u8; 16],
    /// Both the sixteen component SVNs and the CPUSVN, which in this simulation are the same bytes.
    pub(super) cpu_svn: [u8; 16],
    pub(super) pce_svn: u8,
    pub(super) pce_id: [u8; 2],
    pub(super) fmspc: [u8; 6],
    pub(super) dynamic: bool,
    pub(super) cached_keys: bool,
    pub(super) smt: bool,
}

impl PckPlatform {
    /// The extension's value in DER.
    pub(super) fn to_der(&self) -> Vec<u8> {
        let mut tcb = Vec::new();
        for (i, svn) in (1u8..).zip(self.cpu_svn) {
            tcb.extend(entry(&[2, i], &integer(svn)));
        }
        tcb.extend(entry(&[2, 17], &integer(self.pce_svn)));
        tcb.extend(entry(&[2, 18], &octets(&self.cpu_svn)));

        let configuration = [
            entry(&[7, 1], &boolean(self.dynamic)),
            entry(&[7, 2], &boolean(self.cached_keys)),
            entry(&[7, 3], &boolean(self.smt)),
        ]
        .concat();

        let entries = [
            entry(&[1], &octets(&self.ppid)),
            entry(&[2], &tlv(SEQUENCE, &tcb)),
            entry(&[3], &octets(&self.pce_id)),
            entry(&[4], &octets(&self.fmspc)),
            entry(&[5], &tlv(ENUMERATED, &[SGX_TYPE_SCALABLE])),
            entry(&[6], &octets(&self.instance_id)),
            entry(&[7], &tlv(SEQUENCE, &configuration)),
        ]
        .concat();
        tlv(SEQUENCE, &entries)
    }
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;

/// The type of every multi-package platform: memory encryption without integrity against replay.
const SGX_TYPE_SCALABLE: u8 = 1;

/// 1.2.840.113741.1.13.1 as the body of an OBJECT IDENTIFIER.
const SGX_EXTENSION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

/// SEQUENCE { SGX extension OID with the arcs behind it, value }. Every arc here is below 128.
fn entry(arcs: &[u8], value: &[u8]) -> Vec<u8> {
    let oid = tlv(OBJECT_IDENTIFIER, &[SGX_EXTENSION, arcs].concat());
    tlv(SEQUENCE, &[oid, value.to_vec()].concat())
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(OCTET_STRING, bytes)
}

fn boolean(value: bool) -> Vec<u8> {
    tlv(BOOLEAN, &[if value { 0xff } else { 0 }])
}

fn integer(value: u8) -> Vec<u8> {
    if value < 0x80 { tlv(INTEGER, &[value]) } else { tlv(INTEGER, &[0, value]) }
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match value.len() {
        short @ 0..=0x7f => out.push(short as u8),
        length => {
            let bytes = length.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
            out.push(0x80 | bytes.len() as u8);
            out.extend(bytes);
        }
    }
    out.extend(value);
    out
}

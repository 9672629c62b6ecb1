//! Unsigned quotes of the right shape, for tests of what carries them, and the samples of the appraising library.

use std::path::PathBuf;
use std::process::Command;

/// An SGX quote v3 with these user data, and a signature section of no meaning.
pub(crate) fn sgx_v3(user_data: &[u8; 64]) -> Vec<u8> {
    let mut quote = header(3, 0);
    quote.extend([0x11; 320]);
    quote.extend(user_data);
    with_signature(quote)
}

pub(crate) fn tdx_v4(user_data: &[u8; 64]) -> Vec<u8> {
    let mut quote = header(4, 0x81);
    quote.extend([0x22; 520]);
    quote.extend(user_data);
    with_signature(quote)
}

/// A TD 1.5 body: 64 bytes more than TD 1.0.
pub(crate) fn tdx_v5(user_data: &[u8; 64]) -> Vec<u8> {
    let mut quote = header(5, 0x81);
    quote.extend(3u16.to_le_bytes());
    quote.extend(648u32.to_le_bytes());
    quote.extend([0x33; 520]);
    quote.extend(user_data);
    quote.extend([0x33; 64]);
    with_signature(quote)
}

pub(crate) fn snp(user_data: &[u8; 64]) -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[0] = 2;
    report[0x50..0x90].copy_from_slice(user_data);
    report
}

/// Quotes of real platforms that `dcap-qvl` ships in its package, by file name.
pub(crate) fn dcap_qvl_samples() -> Vec<(&'static str, Vec<u8>)> {
    let folder = dcap_qvl_folder().join("sample");
    ["sgx_quote", "tdx_quote", "tdx_quote_outdated", "tdx_quote_td15ex"]
        .map(|name| (name, std::fs::read(folder.join(name)).unwrap()))
        .into()
}

fn dcap_qvl_folder() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|p| p["name"] == "dcap-qvl").unwrap();
    PathBuf::from(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

fn header(version: u16, tee_type: u32) -> Vec<u8> {
    let mut header = vec![0; 48];
    header[..2].copy_from_slice(&version.to_le_bytes());
    header[2] = 2;
    header[4..8].copy_from_slice(&tee_type.to_le_bytes());
    header
}

fn with_signature(mut quote: Vec<u8>) -> Vec<u8> {
    quote.extend(100u32.to_le_bytes());
    quote.extend([0x55; 100]);
    quote
}

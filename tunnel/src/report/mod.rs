//! What a person, and a program, is told of a verified path. Pure: nothing here prints.

mod failure;
mod json;
mod receipt;
mod recorded;
mod table;

pub use failure::Failure;
pub use json::json;
pub use receipt::{receipt, receipt_json};
pub use recorded::recorded;
pub use table::{success, table};

use inclavared_attest::appraise::CodeIdentity;

/// The measurement that names the code, in hexadecimal; empty where there is none.
fn measurement(code: &CodeIdentity) -> String {
    match code {
        CodeIdentity::Sgx(sgx) => hex::encode(sgx.mrenclave),
        CodeIdentity::Tdx(tdx) => hex::encode(tdx.mrtd),
        CodeIdentity::SevSnp(snp) => hex::encode(snp.measurement),
        CodeIdentity::None => String::new(),
    }
}

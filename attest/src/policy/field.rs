//! The fields of evidence that a policy may compare, each by its name in policies, verdicts and files.

use std::fmt;
use std::str::FromStr;

use crate::appraise::CodeIdentity;
use crate::tee::Tee;

/// What stands in a field: bytes in the order of the quote, or a number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FieldValue {
    Bytes(Vec<u8>),
    Number(u64),
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $tee:ident, $len:expr;)*) => {
        /// One field of a quote or report that says what runs, or how it was launched.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Field { $($(#[$doc])* $name,)* }

        impl Field {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The key in policies.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Whose evidence has it.
            pub const fn tee(self) -> Tee {
                match self { $(Self::$name => Tee::$tee,)* }
            }

            /// In bytes; `None` for a number.
            pub const fn width(self) -> Option<usize> {
                match self { $(Self::$name => $len,)* }
            }
        }
    };
}

fields! {
    Mrenclave = "mrenclave", Sgx, Some(32);
    Mrsigner = "mrsigner", Sgx, Some(32);
    IsvProdId = "isvprodid", Sgx, None;
    IsvSvn = "isvsvn", Sgx, None;
    /// SECS.ATTRIBUTES: eight bytes of flags, then XFRM.
    Attributes = "attributes", Sgx, Some(16);
    MiscSelect = "miscselect", Sgx, Some(4);
    /// Chosen by whoever launches the enclave (key separation and sharing, KSS), as is CONFIGSVN.
    ConfigId = "configid", Sgx, Some(64);
    ConfigSvn = "configsvn", Sgx, None;
    /// Signed with the enclave, as is ISVEXTPRODID (KSS).
    IsvFamilyId = "isvfamilyid", Sgx, Some(16);
    IsvExtProdId = "isvextprodid", Sgx, Some(16);

    Mrtd = "mrtd", Tdx, Some(48);
    Rtmr0 = "rtmr0", Tdx, Some(48);
    Rtmr1 = "rtmr1", Tdx, Some(48);
    Rtmr2 = "rtmr2", Tdx, Some(48);
    Rtmr3 = "rtmr3", Tdx, Some(48);
    MrConfigId = "mrconfigid", Tdx, Some(48);
    MrOwner = "mrowner", Tdx, Some(48);
    MrOwnerConfig = "mrownerconfig", Tdx, Some(48);
    TdAttributes = "td_attributes", Tdx, Some(8);
    Xfam = "xfam", Tdx, Some(8);
    MrSeam = "mrseam", Tdx, Some(48);
    MrSignerSeam = "mrsignerseam", Tdx, Some(48);

    SnpMeasurement = "snp_measurement", SevSnp, Some(48);
    HostData = "host_data", SevSnp, Some(32);
    IdKeyDigest = "id_key_digest", SevSnp, Some(48);
    AuthorKeyDigest = "author_key_digest", SevSnp, Some(48);
    FamilyId = "family_id", SevSnp, Some(16);
    ImageId = "image_id", SevSnp, Some(16);
    GuestSvn = "guest_svn", SevSnp, None;
    GuestPolicy = "guest_policy", SevSnp, None;
    Vmpl = "vmpl", SevSnp, None;
}

impl Field {
    /// What the evidence says; `None` where it is of another kind of TEE.
    pub fn read(self, code: &CodeIdentity) -> Option<FieldValue> {
        let number = |number: u64| Some(FieldValue::Number(number));
        let bytes = |bytes: &[u8]| Some(FieldValue::Bytes(bytes.to_vec()));
        match code {
            CodeIdentity::Sgx(id) => match self {
                Self::Mrenclave => bytes(&id.mrenclave),
                Self::Mrsigner => bytes(&id.mrsigner),
                Self::IsvProdId => number(id.isv_prod_id.into()),
                Self::IsvSvn => number(id.isv_svn.into()),
                Self::Attributes => bytes(&id.attributes),
                Self::MiscSelect => bytes(&id.misc_select.to_le_bytes()),
                Self::ConfigId => bytes(&id.config_id),
                Self::ConfigSvn => number(id.config_svn.into()),
                Self::IsvFamilyId => bytes(&id.isv_family_id),
                Self::IsvExtProdId => bytes(&id.isv_ext_prod_id),
                _ => None,
            },
            CodeIdentity::Tdx(id) => match self {
                Self::Mrtd => bytes(&id.mrtd),
                Self::Rtmr0 => bytes(&id.rtmr[0]),
                Self::Rtmr1 => bytes(&id.rtmr[1]),
                Self::Rtmr2 => bytes(&id.rtmr[2]),
                Self::Rtmr3 => bytes(&id.rtmr[3]),
                Self::MrConfigId => bytes(&id.mrconfigid),
                Self::MrOwner => bytes(&id.mrowner),
                Self::MrOwnerConfig => bytes(&id.mrownerconfig),
                Self::TdAttributes => bytes(&id.td_attributes),
                Self::Xfam => bytes(&id.xfam),
                Self::MrSeam => bytes(&id.mrseam),
                Self::MrSignerSeam => bytes(&id.mrsignerseam),
                _ => None,
            },
            CodeIdentity::SevSnp(id) => match self {
                Self::SnpMeasurement => bytes(&id.measurement),
                Self::HostData => bytes(&id.host_data),
                Self::IdKeyDigest => bytes(&id.id_key_digest),
                Self::AuthorKeyDigest => bytes(&id.author_key_digest),
                Self::FamilyId => bytes(&id.family_id),
                Self::ImageId => bytes(&id.image_id),
                Self::GuestSvn => number(id.guest_svn.into()),
                Self::GuestPolicy => number(id.guest_policy),
                Self::Vmpl => number(id.vmpl.into()),
                _ => None,
            },
            CodeIdentity::None => None,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|field| field.name() == text).copied();
        found.ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|field| field.name()).collect();
            format!("`{text}` is no field of evidence; there are {}", known.join(", "))
        })
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&hex::encode(bytes)),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// The bits of GUEST_POLICY above the version of the interface (AMD 56860 table 10), by their words in policies.
pub const GUEST_POLICY_BITS: &[(&str, u8)] = &[
    ("smt", 16),
    ("migrate-ma", 18),
    ("debug", 19),
    ("single-socket", 20),
    ("cxl", 21),
    ("mem-aes-256-xts", 22),
    ("rapl-dis", 23),
    ("ciphertext-hiding-dram", 24),
    ("page-swap-disable", 25),
];

/// Bits of GUEST_POLICY in words; those without one as numbers.
pub(super) fn guest_policy_words(bits: u64) -> String {
    let word = |bit: u8| match GUEST_POLICY_BITS.iter().find(|(_, known)| *known == bit) {
        Some((word, _)) => (*word).to_owned(),
        None => format!("bit {bit}"),
    };
    let words: Vec<_> = (0..64).filter(|bit| bits >> bit & 1 == 1).map(word).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

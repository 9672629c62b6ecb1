//! What a simulated attester claims to be: every verdict of the appraisal can be asked for.

use super::error::SimError;
use crate::Digest;
use crate::appraise::TcbStatus;
use crate::policy::{Field, FieldValue};
use crate::tee::Tee;

/// The measurements and the state that simulated quotes state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SimSpec {
    pub format: QuoteFormat,

    /// SGX alone.
    pub mrenclave: [u8; 32],
    pub mrsigner: [u8; 32],
    pub isv_prod_id: u16,
    pub isv_svn: u16,
    /// ATTRIBUTES of the enclave, without DEBUG.
    pub attributes: [u8; 16],
    pub misc_select: u32,
    /// Key separation and sharing (KSS): what the launcher chose, and what the signer did.
    pub config_id: [u8; 64],
    pub config_svn: u16,
    pub isv_family_id: [u8; 16],
    pub isv_ext_prod_id: [u8; 16],

    /// TDX alone.
    pub mrtd: [u8; 48],
    pub rtmr: [[u8; 48]; 4],
    pub mrconfigid: [u8; 48],
    pub mrowner: [u8; 48],
    pub mrownerconfig: [u8; 48],
    pub mrseam: [u8; 48],
    pub xfam: u64,
    /// ATTRIBUTES of the TD, without DEBUG. SEPT_VE_DISABLE alone is what appraisal accepts.
    pub td_attributes: u64,

    pub debug: bool,
    pub tcb: TcbChoice,
    /// The quoting enclave's own status: `UpToDate`, `OutOfDate` or `Revoked`; it pulls the platform's down.
    pub qe_status: TcbStatus,
    pub smt: bool,
    pub dynamic_platform: bool,
    pub cached_keys: bool,
    /// The name of the machine: quotes of one name come from one machine, quotes of another from another.
    pub machine: String,
}

/// The formats of quotes that are simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum QuoteFormat {
    #[default]
    SgxV3,
    /// A TD 1.0 report.
    TdxV4,
    /// A TD 1.5 report, which states the TCB at launch and the current one.
    TdxV5,
}

/// Which TCB level the platform is to match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcbChoice {
    Status(TcbStatus),
    /// Below every level that the TCB info lists.
    Unlisted,
}

impl SimSpec {
    /// An SGX enclave whose measurements are derived from a label, commonly the program's name.
    pub fn sgx(label: &str) -> Self {
        Self {
            format: QuoteFormat::SgxV3,
            mrenclave: *Digest::of(label.as_bytes()).as_bytes(),
            mrsigner: *Digest::of_parts(&[b"signer/", label.as_bytes()]).as_bytes(),
            isv_prod_id: 1,
            isv_svn: 1,
            attributes: SGX_ATTRIBUTES,
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
            isv_family_id: [0; 16],
            isv_ext_prod_id: [0; 16],
            mrtd: wide("mrtd", label),
            rtmr: ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].map(|name| wide(name, label)),
            mrconfigid: [0; 48],
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
            mrseam: module(),
            xfam: XFAM,
            td_attributes: TD_SEPT_VE_DISABLE,
            debug: false,
            tcb: TcbChoice::Status(TcbStatus::UpToDate),
            qe_status: TcbStatus::UpToDate,
            smt: true,
            dynamic_platform: false,
            cached_keys: false,
            machine: "machine".into(),
        }
    }

    /// A TD whose measurements are derived from a label, commonly the program's name.
    pub fn tdx(label: &str) -> Self {
        Self { format: QuoteFormat::TdxV4, ..Self::sgx(label) }
    }

    /// By kind of TEE.
    pub fn of(tee: Tee, label: &str) -> Result<Self, SimError> {
        match tee {
            Tee::Sgx => Ok(Self::sgx(label)),
            Tee::Tdx => Ok(Self::tdx(label)),
            other => Err(SimError::Tee(other)),
        }
    }

    pub fn tee(&self) -> Tee {
        self.format.tee()
    }

    /// States `value` in `field`. The simulated TDX module has one signer, which its collateral names: MRSIGNERSEAM is
    /// not to be chosen.
    pub fn set(&mut self, field: Field, value: &FieldValue) -> Result<(), SimError> {
        let refused = |what| Err(SimError::Field { field: field.name(), what });
        if field.tee() != self.tee() {
            return refused("is of another kind of TEE than the one that is simulated");
        }
        let done = match (field, value) {
            (Field::IsvProdId, FieldValue::Number(n)) => number(&mut self.isv_prod_id, *n),
            (Field::IsvSvn, FieldValue::Number(n)) => number(&mut self.isv_svn, *n),
            (Field::ConfigSvn, FieldValue::Number(n)) => number(&mut self.config_svn, *n),
            (Field::Mrenclave, FieldValue::Bytes(b)) => bytes(&mut self.mrenclave, b),
            (Field::Mrsigner, FieldValue::Bytes(b)) => bytes(&mut self.mrsigner, b),
            (Field::Attributes, FieldValue::Bytes(b)) => bytes(&mut self.attributes, b),
            (Field::MiscSelect, FieldValue::Bytes(b)) => {
                <[u8; 4]>::try_from(&b[..]).map(|b| self.misc_select = u32::from_le_bytes(b)).is_ok()
            }
            (Field::ConfigId, FieldValue::Bytes(b)) => bytes(&mut self.config_id, b),
            (Field::IsvFamilyId, FieldValue::Bytes(b)) => bytes(&mut self.isv_family_id, b),
            (Field::IsvExtProdId, FieldValue::Bytes(b)) => bytes(&mut self.isv_ext_prod_id, b),
            (Field::Mrtd, FieldValue::Bytes(b)) => bytes(&mut self.mrtd, b),
            (Field::Rtmr0, FieldValue::Bytes(b)) => bytes(&mut self.rtmr[0], b),
            (Field::Rtmr1, FieldValue::Bytes(b)) => bytes(&mut self.rtmr[1], b),
            (Field::Rtmr2, FieldValue::Bytes(b)) => bytes(&mut self.rtmr[2], b),
            (Field::Rtmr3, FieldValue::Bytes(b)) => bytes(&mut self.rtmr[3], b),
            (Field::MrConfigId, FieldValue::Bytes(b)) => bytes(&mut self.mrconfigid, b),
            (Field::MrOwner, FieldValue::Bytes(b)) => bytes(&mut self.mrowner, b),
            (Field::MrOwnerConfig, FieldValue::Bytes(b)) => bytes(&mut self.mrownerconfig, b),
            (Field::MrSeam, FieldValue::Bytes(b)) => bytes(&mut self.mrseam, b),
            (Field::TdAttributes, FieldValue::Bytes(b)) => {
                <[u8; 8]>::try_from(&b[..]).map(|b| self.td_attributes = u64::from_le_bytes(b)).is_ok()
            }
            (Field::Xfam, FieldValue::Bytes(b)) => {
                <[u8; 8]>::try_from(&b[..]).map(|b| self.xfam = u64::from_le_bytes(b)).is_ok()
            }
            _ => return refused("cannot be simulated"),
        };
        if done { Ok(()) } else { refused("does not hold such a value") }
    }

    /// The SVNs that make the platform match the level that was asked for.
    pub(super) fn svns(&self) -> Result<Svns, SimError> {
        let refused = |status: TcbStatus, remedy| SimError::Status {
            format: self.format.name(),
            status: status.to_string(),
            remedy,
        };
        let v5 = self.format == QuoteFormat::TdxV5;
        let (launch, current) = match self.tcb {
            TcbChoice::Unlisted => (UNLISTED_SVN, UNLISTED_SVN),
            TcbChoice::Status(TcbStatus::TDRelaunchAdvised) if v5 => {
                (svn(TcbStatus::OutOfDate), svn(TcbStatus::UpToDate))
            }
            TcbChoice::Status(TcbStatus::TDRelaunchAdvisedConfigurationNeeded) if v5 => {
                (svn(TcbStatus::OutOfDateConfigurationNeeded), svn(TcbStatus::UpToDate))
            }
            TcbChoice::Status(
                status @ (TcbStatus::TDRelaunchAdvised | TcbStatus::TDRelaunchAdvisedConfigurationNeeded),
            ) => return Err(refused(status, "only TDX quotes v5 can")),
            TcbChoice::Status(status) => (svn(status), svn(status)),
        };
        let qe = match self.qe_status {
            status @ (TcbStatus::UpToDate | TcbStatus::OutOfDate | TcbStatus::Revoked) => svn(status),
            status => return Err(refused(status, "a quoting enclave is UpToDate, OutOfDate or Revoked")),
        };
        Ok(Svns { launch, current, qe: qe.into() })
    }
}

impl Default for SimSpec {
    fn default() -> Self {
        Self::sgx("inclavared")
    }
}

/// The SVNs of one attester.
#[derive(Clone, Copy, Debug)]
pub(super) struct Svns {
    pub(super) launch: u8,
    pub(super) current: u8,
    pub(super) qe: u16,
}

impl QuoteFormat {
    pub fn tee(self) -> Tee {
        match self {
            Self::SgxV3 => Tee::Sgx,
            Self::TdxV4 | Self::TdxV5 => Tee::Tdx,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::SgxV3 => "SGX v3",
            Self::TdxV4 => "TDX v4",
            Self::TdxV5 => "TDX v5",
        }
    }
}

/// Each status has an SVN of its own, the better the higher: a platform states one, and TCB info maps it back.
pub(super) const fn svn(status: TcbStatus) -> u8 {
    match status {
        TcbStatus::UpToDate => 9,
        TcbStatus::SWHardeningNeeded => 8,
        TcbStatus::ConfigurationNeeded => 7,
        TcbStatus::ConfigurationAndSWHardeningNeeded => 6,
        // The last two are no levels: they come of a launch SVN and a current one.
        TcbStatus::OutOfDate | TcbStatus::TDRelaunchAdvised => 5,
        TcbStatus::OutOfDateConfigurationNeeded | TcbStatus::TDRelaunchAdvisedConfigurationNeeded => 4,
        TcbStatus::Revoked => 3,
    }
}

fn number(slot: &mut u16, number: u64) -> bool {
    u16::try_from(number).map(|number| *slot = number).is_ok()
}

pub(super) fn bytes<const N: usize>(slot: &mut [u8; N], bytes: &[u8]) -> bool {
    <[u8; N]>::try_from(bytes).map(|bytes| *slot = bytes).is_ok()
}

/// MRSEAM of the simulated TDX module.
fn module() -> [u8; 48] {
    let mut mrseam = [0; 48];
    mrseam[..32].copy_from_slice(Digest::of(b"simulated TDX module").as_bytes());
    mrseam
}

/// INIT and MODE64BIT; XFRM is x87 and SSE.
const SGX_ATTRIBUTES: [u8; 16] = [0x05, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];

/// x87, SSE, AVX and AVX-512.
const XFAM: u64 = 0xe7;

/// Bit 28 of a TD's ATTRIBUTES: the host cannot inject exceptions by taking pages away.
const TD_SEPT_VE_DISABLE: u64 = 1 << 28;

const UNLISTED_SVN: u8 = 1;

/// 48 bytes, as TDX measures with SHA-384, made from two SHA-256 values.
fn wide(name: &str, label: &str) -> [u8; 48] {
    let first = Digest::of_parts(&[name.as_bytes(), b"/", label.as_bytes()]);
    let second = Digest::of(first.as_bytes());
    let mut bytes = [0; 48];
    bytes[..32].copy_from_slice(first.as_bytes());
    bytes[32..].copy_from_slice(&second.as_bytes()[..16]);
    bytes
}

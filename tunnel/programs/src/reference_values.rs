//! Files of reference values: opened, bounded, written and signed. What they mean is `inclavared-config`'s, what images and
//! signatures are worth is `inclavared-attest`'s.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use inclavared_attest::reference::signature::{KeyFormError, SigningKey};
use inclavared_attest::reference::{EnclaveError, Image, ImageError, measure_sgx, read_sigstruct};
use inclavared_attest::{Digest, KeyId, Timestamp};
use inclavared_config::{ImportMeta, ImportedEnclave, render_imported, signature_file};
use zeroize::Zeroizing;

use crate::cli::{Import, Measure, ValuesFile};

/// What is in the way of writing, importing or measuring.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    #[error("{}: cannot be read; name a readable file", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}: more than {} bytes; no enclave is so large: name another file", path.display(), MAX_IMAGE)]
    TooLarge { path: PathBuf },
    #[error("writing {}: choose another name, or `--force` to overwrite what is there", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("standard output")]
    Stdout(#[source] io::Error),
    #[error("{}: this key cannot sign", path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: KeyFormError,
    },
    #[error("{}", path.display())]
    Enclave {
        path: PathBuf,
        #[source]
        source: EnclaveError,
    },
    #[error("{}: it cannot be measured", path.display())]
    Image {
        path: PathBuf,
        #[source]
        source: ImageError,
    },
}

/// The key that a file is to be signed with, read before anything else is done.
pub fn signing_key(to: &ValuesFile) -> Result<Option<SigningKey>, ValuesError> {
    let Some(path) = &to.sign_key else { return Ok(None) };
    let pem = Zeroizing::new(read(path, MAX_KEY)?);
    SigningKey::from_pem(&pem).map(Some).map_err(|source| ValuesError::Key { path: path.clone(), source })
}

/// Writes the file, and its signature beside it. The signature comes first: what is not whole is refused where a signature
/// is asked for.
pub fn write(text: &str, to: &ValuesFile, key: Option<&SigningKey>) -> Result<(), ValuesError> {
    let Some(out) = &to.out else {
        return io::stdout().write_all(text.as_bytes()).map_err(ValuesError::Stdout);
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| ValuesError::Write { path, source }
    };
    let mut options = OpenOptions::new();
    options.write(true);
    match to.overwrite {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let mut file = options.open(out).map_err(failed(out))?;
    if let Some(key) = key {
        let beside = signature_file(out);
        let signature = key.sign(text.as_bytes()).map_err(|source| ValuesError::Key { path: out.clone(), source })?;
        std::fs::write(&beside, signature).map_err(failed(&beside))?;
    }
    file.write_all(text.as_bytes()).map_err(failed(out))
}

/// The text of a file of reference values from what signers state.
pub fn import(import: &Import, key: Option<KeyId>, at: Timestamp) -> Result<String, ValuesError> {
    let enclave = |path: &PathBuf| {
        let bytes = read(path, MAX_IMAGE)?;
        let sigstruct = read_sigstruct(&bytes).map_err(|source| ValuesError::Enclave { path: path.clone(), source })?;
        Ok(ImportedEnclave { file: path.display().to_string(), sha256: Digest::of(&bytes), sigstruct })
    };
    let enclaves = import.files.iter().map(enclave).collect::<Result<Vec<_>, ValuesError>>()?;
    let meta = ImportMeta {
        policy: &import.to.name,
        by: "shelter",
        version: env!("CARGO_PKG_VERSION"),
        operator: import.to.operator.as_deref(),
        at,
        key,
        role: import.role.as_deref(),
    };
    Ok(render_imported(&enclaves, &meta))
}

/// An image and its measurement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Measured {
    pub image: Image,
    /// What a SIGSTRUCT says it should be: the one that was named, else the one in the image.
    pub signed: Option<[u8; 32]>,
}

impl Measured {
    /// `None` where nothing says what it should be.
    pub fn agrees(&self) -> Option<bool> {
        self.signed.map(|signed| signed == self.image.mrenclave)
    }
}

/// MRENCLAVE of an image.
pub fn measure(what: &Measure) -> Result<Measured, ValuesError> {
    let path = &what.image;
    let bytes = read(path, MAX_IMAGE)?;
    let image = measure_sgx(&bytes).map_err(|source| ValuesError::Image { path: path.clone(), source })?;
    let signed = what.sigstruct.as_ref().map(|path| {
        let bytes = read(path, MAX_IMAGE)?;
        let read = read_sigstruct(&bytes).map_err(|source| ValuesError::Enclave { path: path.clone(), source })?;
        Ok(read.mrenclave)
    });
    Ok(Measured { signed: signed.transpose()?.or(image.signed), image })
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ValuesError> {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    result.map_err(|source| ValuesError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(ValuesError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

const MAX_KEY: u64 = 16 * 1024;
/// The content of an enclave, with what is loaded of its heap.
const MAX_IMAGE: u64 = 4 << 30;

//! A real file through a local socket and back, with a progress bar where somebody looks.

use std::fs::File;
use std::io::{BufWriter, Read, Seek as _, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_lc_rs::digest::{Context, SHA256};
use inclavared_attest::Digest;
use indicatif::{ProgressBar, ProgressStyle};

/// How long no byte may move, and how long the receipt may take.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

const CHUNK: usize = 256 * 1024;

/// What went and what came back.
pub(super) struct Transfer {
    pub(super) there: Digest,
    pub(super) back: Digest,
    pub(super) took: Duration,
}

/// Makes a file of `size` random bytes, sends it to an echo at `address`, and reads it back.
pub(super) fn echo_file(address: SocketAddr, size: u64) -> anyhow::Result<Transfer> {
    let mut file = random_file(size)?;
    let mut stream = TcpStream::connect(address).context("connecting to the forwarding route")?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut sender = stream.try_clone()?;
    let bar = bar(size);
    let begun = Instant::now();
    let sending = std::thread::spawn(move || -> std::io::Result<Digest> {
        let digest = copy(&mut file, &mut sender, |_| {})?;
        sender.shutdown(Shutdown::Write)?;
        Ok(digest)
    });
    let back = copy(&mut stream, &mut std::io::sink(), |bytes| bar.inc(bytes)).context("reading back")?;
    let took = begun.elapsed();
    bar.finish_and_clear();
    let there = sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?.context("sending")?;
    Ok(Transfer { there, back, took })
}

/// A file without a name: it is gone when it is closed.
fn random_file(size: u64) -> anyhow::Result<File> {
    let path = std::env::temp_dir().join(format!("inclavared-demo-{}.bin", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let file = file.with_context(|| format!("making {}", path.display()))?;
    std::fs::remove_file(&path)?;
    let mut writer = BufWriter::with_capacity(CHUNK, file);
    let mut block = vec![0; CHUNK];
    let mut left = size;
    while left > 0 {
        aws_lc_rs::rand::fill(&mut block).map_err(|_| anyhow::anyhow!("no randomness"))?;
        let now = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        writer.write_all(&block[..now]).context("writing the file")?;
        left -= now as u64;
    }
    let mut file = writer.into_inner().map_err(|error| error.into_error())?;
    file.rewind()?;
    Ok(file)
}

fn copy(from: &mut impl Read, to: &mut impl Write, moved: impl Fn(u64)) -> std::io::Result<Digest> {
    let mut digest = Context::new(&SHA256);
    let mut block = vec![0; CHUNK];
    loop {
        let read = from.read(&mut block)?;
        if read == 0 {
            break;
        }
        digest.update(&block[..read]);
        to.write_all(&block[..read])?;
        moved(read as u64);
    }
    Ok(Digest::from_slice(digest.finish().as_ref()).expect("SHA-256 has 32 bytes"))
}

/// Drawn on standard error, and only if that is a terminal.
fn bar(size: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("   {bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    let bar = ProgressBar::new(size);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

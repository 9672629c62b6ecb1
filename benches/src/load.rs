//! The client before the proxies: one measurement a call, printed as one line of JSON.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args as ClapArgs, Subcommand};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;

use crate::sink::{Request, discard, give};
use crate::{certs, proc, raw};

#[derive(ClapArgs)]
pub(crate) struct Args {
    #[arg(long)]
    address: SocketAddr,
    /// Without: plain TCP.
    #[arg(long)]
    certs: Option<PathBuf>,
    /// The processes whose CPU time and memory are counted.
    #[arg(long = "pid", required = true)]
    pids: Vec<u32>,
    /// Offer X25519MLKEM768 alone, in place of X25519.
    #[arg(long)]
    hybrid: bool,
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand, Clone, Copy)]
enum Kind {
    /// Payload per second of the proxy's CPU time.
    Bulk {
        #[arg(long)]
        streams: u64,
        #[arg(long)]
        down: bool,
        #[arg(long)]
        mib: u64,
        /// Payload of one record, up (TLS only).
        #[arg(long, default_value_t = raw::LARGEST)]
        record: usize,
    },
    /// New streams per second of the proxy's CPU time; each one is used once.
    Handshakes {
        #[arg(long)]
        seconds: f64,
    },
    /// Round trips of 64 bytes.
    Latency {
        #[arg(long)]
        count: usize,
    },
    /// Memory of the proxy per stream that has been used and is quiet.
    Idle {
        #[arg(long)]
        streams: usize,
    },
}

pub(crate) fn run(args: &Args) -> Result<()> {
    proc::raise_descriptor_limit();
    let group = if args.hybrid { kx_group::X25519MLKEM768 } else { kx_group::X25519 };
    let dialer = Dialer {
        address: args.address,
        tls: args.certs.as_deref().map(|folder| certs::client(folder, group)).transpose()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let measured = tasks.run_until(async {
        match args.kind {
            Kind::Bulk { streams, down, mib, record } => {
                bulk(&dialer, &args.pids, streams, down, mib << 20, record).await
            }
            Kind::Handshakes { seconds } => handshakes(&dialer, &args.pids, Duration::from_secs_f64(seconds)).await,
            Kind::Latency { count } => latency(&dialer, count).await,
            Kind::Idle { streams } => idle(&dialer, &args.pids, streams).await,
        }
    });
    println!("{}", runtime.block_on(measured)?);
    Ok(())
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

#[derive(Clone)]
struct Dialer {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Dialer {
    async fn socket(&self) -> Result<TcpStream> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    async fn stream(&self, request: Request) -> Result<Box<dyn Stream>> {
        let socket = self.socket().await?;
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some(config) => Box::new(secure(config, socket).await?),
        };
        stream.write_all(&request.encode()).await?;
        stream.flush().await?;
        Ok(stream)
    }
}

async fn secure(config: &Arc<ClientConfig>, socket: TcpStream) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost")?;
    Ok(TlsConnector::from(Arc::clone(config)).connect(name, socket).await?)
}

async fn bulk(dialer: &Dialer, pids: &[u32], streams: u64, down: bool, total: u64, record: usize) -> Result<Value> {
    let len = total / streams;
    let begin = Rc::new(Barrier::new(usize::try_from(streams)? + 1));
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        let (dialer, begin) = (dialer.clone(), Rc::clone(&begin));
        tasks.spawn_local(async move {
            match (&dialer.tls, down) {
                (None, up_or_down) => plain_bulk(&dialer, up_or_down, len, &begin).await,
                (Some(config), false) => up(secure(config, dialer.socket().await?).await?, len, record, &begin).await,
                (Some(config), true) => down_bulk(secure(config, dialer.socket().await?).await?, len, &begin).await,
            }
        });
    }
    let ready = tokio::time::timeout(PATIENCE, begin.wait());
    tokio::select! {
        ready = ready => {
            ready.context("the streams did not open")?;
        }
        // A task that ends before the others have begun has failed.
        Some(ended) = tasks.join_next() => ended??,
    }
    let (cpu, begun) = (proc::cpu(pids), Instant::now());
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let (cpu, seconds) = (proc::cpu(pids) - cpu, begun.elapsed().as_secs_f64());
    let gigabytes = (len * streams) as f64 / 1e9;
    Ok(json!({ "value": gigabytes / cpu, "per_second": gigabytes / seconds, "cpu": cpu }))
}

async fn up(
    mut stream: tokio_rustls::client::TlsStream<TcpStream>,
    len: u64,
    record: usize,
    begin: &Barrier,
) -> Result<()> {
    stream.write_all(&Request::Take(len).encode()).await?;
    stream.flush().await?;
    stream.read_u8().await?;
    let (mut socket, connection) = stream.into_inner();
    let mut sender = raw::Sender::new(connection.into())?;
    begin.wait().await;
    sender.send(&mut socket, len, record).await?;
    raw::receive(&mut socket, 1).await
}

async fn down_bulk(mut stream: tokio_rustls::client::TlsStream<TcpStream>, len: u64, begin: &Barrier) -> Result<()> {
    begin.wait().await;
    stream.write_all(&Request::Give(len).encode()).await?;
    stream.flush().await?;
    let (mut socket, _) = stream.into_inner();
    raw::receive(&mut socket, len).await
}

async fn plain_bulk(dialer: &Dialer, down: bool, len: u64, begin: &Barrier) -> Result<()> {
    let mut socket = dialer.socket().await?;
    if down {
        begin.wait().await;
        socket.write_all(&Request::Give(len).encode()).await?;
        return discard(&mut socket, len).await;
    }
    socket.write_all(&Request::Take(len).encode()).await?;
    socket.read_u8().await?;
    begin.wait().await;
    give(&mut socket, len).await?;
    socket.read_u8().await?;
    Ok(())
}

async fn handshakes(dialer: &Dialer, pids: &[u32], time: Duration) -> Result<Value> {
    let (done, stop) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(false)));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (dialer, done, stop) = (dialer.clone(), Rc::clone(&done), Rc::clone(&stop));
        tasks.spawn_local(async move {
            while !stop.get() {
                let mut stream = dialer.stream(Request::Hello).await?;
                stream.read_u8().await?;
                stream.shutdown().await?;
                // To the end: a stream that is cut off costs a proxy less than one that ends in order.
                // Whether a peer says close_notify or only hangs up is its own business here.
                let _ = stream.read_to_end(&mut Vec::new()).await;
                done.set(done.get() + 1);
            }
            anyhow::Ok(())
        });
    }
    // The first are slower: caches are cold.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (cpu, before, begun) = (proc::cpu(pids), done.get(), Instant::now());
    tokio::time::sleep(time).await;
    let (cpu, count) = (proc::cpu(pids) - cpu, (done.get() - before) as f64);
    let per_second = count / begun.elapsed().as_secs_f64();
    stop.set(true);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(json!({ "value": count / cpu, "per_second": per_second }))
}

async fn latency(dialer: &Dialer, count: usize) -> Result<Value> {
    let mut stream = dialer.stream(Request::Echo).await?;
    let (sent, mut back) = ([7; 64], [0; 64]);
    let mut times = Vec::with_capacity(count);
    for round in 0..count + WARM {
        let begun = Instant::now();
        stream.write_all(&sent).await?;
        stream.flush().await?;
        stream.read_exact(&mut back).await?;
        if round >= WARM {
            times.push(begun.elapsed());
        }
    }
    ensure!(sent == back, "other bytes came back");
    stream.shutdown().await?;
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_nanos() as f64 / 1e3;
    Ok(json!({ "value": at(50), "p99": at(99) }))
}

async fn idle(dialer: &Dialer, pids: &[u32], streams: usize) -> Result<Value> {
    // What is made once is made before anything is counted.
    for _ in 0..32 {
        open_idle(dialer).await?.shutdown().await?;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = proc::resident(pids);
    let mut open = Vec::with_capacity(streams);
    while open.len() < streams {
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE.min(streams - open.len()) {
            let dialer = dialer.clone();
            tasks.spawn_local(async move { open_idle(&dialer).await });
        }
        while let Some(opened) = tasks.join_next().await {
            open.push(opened??);
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = proc::resident(pids) - before;
    Ok(json!({ "value": grown / streams as f64 }))
}

/// A stream that has carried a little each way.
async fn open_idle(dialer: &Dialer) -> Result<Box<dyn Stream>> {
    let mut stream = dialer.stream(Request::Echo).await?;
    let (sent, mut back) = ([1; 64], [0; 64]);
    stream.write_all(&sent).await?;
    stream.flush().await?;
    stream.read_exact(&mut back).await?;
    Ok(stream)
}

/// Streams that are opened at once.
const AT_ONCE: usize = 16;
/// Round trips that are not counted.
const WARM: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(20);

//! A local application makes 1,500 connections at once, over three hops: a third of them were reset.
//!
//! A plain listener on this machine takes no more than it can open, and the others wait with the kernel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::harness::World;

const BURST: usize = 1500;

/// Nobody was served for so long: it has come to a stop. How long all of it takes is the machine's matter.
const STANDSTILL: Duration = Duration::from_secs(60);

/// All at once: each sends a byte and gets it back. How many were served, and the first error.
fn burst(
    count: usize,
    connect: impl AsyncFn() -> std::io::Result<Box<dyn Stream>> + Clone + 'static,
) -> (usize, Option<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let all = async move {
        let mut streams = JoinSet::new();
        for _ in 0..count {
            let (connect, counted) = (connect.clone(), Arc::clone(&counted));
            streams.spawn_local(async move {
                let mut stream = connect().await?;
                stream.write_all(b"x").await?;
                stream.read_exact(&mut [0]).await?;
                counted.fetch_add(1, Ordering::Relaxed);
                std::io::Result::Ok(())
            });
        }
        let mut failed = None;
        while let Some(done) = streams.join_next().await {
            if let Err(error) = done.unwrap() {
                failed.get_or_insert(error.to_string());
            }
        }
        failed
    };
    let moving = async {
        let (mut last, mut since) = (0, Instant::now());
        while since.elapsed() < STANDSTILL {
            sleep(Duration::from_millis(100)).await;
            let now = served.load(Ordering::Relaxed);
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
    };
    let failed = runtime.block_on(tasks.run_until(async {
        tokio::select! {
            failed = all => failed,
            () = moving => Some("it came to a stop".to_owned()),
        }
    }));
    (served.load(Ordering::Relaxed), failed)
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Stream for T {}

#[test]
fn of_one_application_over_three_hops() {
    let world = World::new();
    let chain = world.chain(3);
    let forward = world.forward(chain.address(), "");
    let to: SocketAddr = forward.address;
    let served = burst(BURST, async move || Ok(Box::new(TcpStream::connect(to).await?) as Box<dyn Stream>));
    assert_eq!(served, (BURST, None));
}

/// Over a Unix socket, with so few places that nearly all of them wait.
#[test]
fn over_a_unix_socket_with_few_places() {
    const COUNT: usize = 200;
    let world = World::new();
    let chain = world.chain(2);
    let path = world.path("in.sock");
    let _listener = world.route(
        "local",
        &format!(
            r#"
            listen = "unix://{}"
            xfer = "{}"
            upstream = "plain"
            downstream = {{ tls = "attested", policy = "any" }}
            [limits]
            connections = 10
            openings = 2
            "#,
            path.display(),
            chain.address()
        ),
    );
    let served = burst(COUNT, async move || Ok(Box::new(UnixStream::connect(&path).await?) as Box<dyn Stream>));
    assert_eq!(served, (COUNT, None));
}

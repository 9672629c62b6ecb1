//! Sends back what comes, and greets whoever greets as the original's `inclavared` did.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Serving, Workload};

/// What the original's `inclavared` sent to its workload.
pub const HELLO: &[u8] = b"hello from inclavared";

/// What the original's workload answered.
const WELCOME: &[u8] = b"Hello and welcome to Enclave TLS!\n";

/// Echoes until the client has ended its direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo {
    greets: bool,
}

impl Echo {
    /// Answers the original's hello with its welcome. Its measurements are in the evidence, not in the payload: bytes
    /// that nothing binds are not sent.
    pub fn greeting() -> Self {
        Self { greets: true }
    }
}

impl Workload for Echo {
    fn serve(&self, stream: UnixStream) -> Serving<'_> {
        Box::pin(echo(stream, self.greets))
    }
}

async fn echo(mut stream: UnixStream, greets: bool) -> io::Result<()> {
    let mut first = [0; 64];
    let read = stream.read(&mut first).await?;
    let first = &first[..read];
    if greets && first.strip_prefix(HELLO).is_some_and(|rest| rest.iter().all(|byte| matches!(byte, 0 | b'\n'))) {
        stream.write_all(WELCOME).await?;
    } else {
        stream.write_all(first).await?;
    }
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(echo: Echo, sent: &[u8]) -> Vec<u8> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let talk = async {
            ours.write_all(sent).await.unwrap();
            ours.shutdown().await.unwrap();
            let mut back = Vec::new();
            ours.read_to_end(&mut back).await.unwrap();
            back
        };
        let (back, served) = tokio::join!(talk, echo.serve(theirs));
        served.unwrap();
        back
    }

    #[tokio::test]
    async fn greets_and_echoes() {
        assert_eq!(answer(Echo::greeting(), b"hello from inclavared\0").await, WELCOME);
        assert_eq!(answer(Echo::greeting(), b"hello from inclavareds").await, b"hello from inclavareds");
        assert_eq!(answer(Echo::greeting(), b"").await, b"");
        let long: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        assert_eq!(answer(Echo::default(), &long).await, long);
    }
}

//! OpenSSL at both ends: other defaults, tickets after the handshake, its own way to close.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::support::{DOWNSTREAM, Folder, UPSTREAM};

#[test]
fn s_client_speaks_to_s_server() {
    let folder = Folder::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // `-rev` answers each line with its letters reversed.
    let server = openssl(&folder, &["s_server", "-rev", "-tls1_3", "-verify_return_error", "-Verify", "2"])
        .args(["-accept", &port.to_string(), "-cert", "server.pem", "-key", "server.key", "-CAfile", "ca.pem"])
        .spawn()
        .expect("openssl is installed");
    let server = Ends(server);
    let target = ([127, 0, 0, 1], port).into();
    wait_for(target);
    let running = folder.start(&folder.config(target, UPSTREAM, DOWNSTREAM)).unwrap();
    let mut client = openssl(&folder, &["s_client", "-quiet", "-tls1_3", "-verify_return_error", "-nocommands"])
        .args(["-connect", &running.address.to_string(), "-servername", "localhost", "-verify_hostname", "localhost"])
        .args(["-cert", "client.pem", "-key", "client.key", "-CAfile", "ca.pem"])
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    for (said, heard) in [("hello", "olleh"), ("inclavared", "deravalcni")] {
        writeln!(stdin, "{said}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), heard);
    }
    drop(stdin);
    drop(Ends(client));
    drop(server);
    running.stop();
}

fn openssl(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(args).current_dir(folder.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// A child that does not outlive its test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(address: std::net::SocketAddr) {
    for _ in 0..200 {
        if std::net::TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("nothing listens on {address}");
}

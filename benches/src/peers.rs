//! The proxies that are compared: their configurations, and how each is started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use inclavared_attest::Timestamp;
use inclavared_attest::sim::SimPlatform;

use crate::proc::{Pinned, free_port};

/// A proxy that can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proxy {
    /// Ours, with ordinary certificates on both sides.
    Pki,
    /// Ours, the middle one of three hops of an attested path.
    Attested,
    Haproxy,
    Nginx,
    Stunnel,
    Envoy,
}

impl Proxy {
    pub(crate) const PEERS: [Self; 4] = [Self::Envoy, Self::Haproxy, Self::Nginx, Self::Stunnel];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pki => "ours, pki",
            Self::Attested => "ours, attested",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Stunnel => "stunnel",
            Self::Envoy => "envoy",
        }
    }

    /// The program, if it is here. `ENVOY` names one that is not installed.
    pub(crate) fn program(self) -> Option<PathBuf> {
        match self {
            Self::Pki | Self::Attested => std::env::current_exe().ok(),
            Self::Envoy => std::env::var_os("ENVOY").map(PathBuf::from).or_else(|| find("envoy")),
            Self::Stunnel => find("stunnel4").or_else(|| find("stunnel")),
            Self::Haproxy | Self::Nginx => find(self.name()),
        }
    }

    /// The load speaks plain TCP to it: the hops at both ends of the path do the rest.
    pub(crate) fn is_plain(self) -> bool {
        self == Self::Attested
    }

    /// Hops on the way: an added latency is divided by them.
    pub(crate) fn hops(self) -> f64 {
        if self == Self::Attested { 3.0 } else { 1.0 }
    }
}

/// Where everything of one run lies, and where it runs.
pub(crate) struct Lab {
    pub(crate) folder: PathBuf,
    pub(crate) proxy_core: usize,
    pub(crate) load_core: usize,
    pub(crate) sink: SocketAddr,
    pub(crate) plain_sink: SocketAddr,
}

/// A proxy that serves.
pub(crate) struct Started {
    pub(crate) address: SocketAddr,
    /// What is measured.
    pub(crate) pid: u32,
    /// Ended in this order, which is that of the path.
    _running: Vec<Pinned>,
}

impl Started {
    /// No proxy: the sink itself, while `pid` has nothing to do.
    pub(crate) fn at(address: SocketAddr, pid: u32) -> Self {
        Self { address, pid, _running: Vec::new() }
    }
}

impl Lab {
    pub(crate) fn certs(&self) -> PathBuf {
        self.folder.join("certs")
    }

    /// The simulated platform that all hops share.
    pub(crate) fn prepare(&self) -> Result<()> {
        crate::certs::write(&self.certs())?;
        let platform = SimPlatform::generate(Timestamp::now())?;
        Ok(platform.save(&self.folder.join("platform"))?)
    }

    pub(crate) fn start(&self, proxy: Proxy) -> Result<Started> {
        let program = proxy.program().context("it is not installed")?;
        if proxy == Proxy::Attested {
            return self.start_path(&program);
        }
        let (template, file) = match proxy {
            Proxy::Haproxy => (include_str!("../peers/haproxy.cfg"), "haproxy.cfg"),
            Proxy::Nginx => (include_str!("../peers/nginx.conf"), "nginx.conf"),
            Proxy::Stunnel => (include_str!("../peers/stunnel.conf"), "stunnel.conf"),
            Proxy::Envoy => (include_str!("../peers/envoy.yaml"), "envoy.yaml"),
            Proxy::Pki | Proxy::Attested => (include_str!("../peers/pki.toml"), "pki.toml"),
        };
        let port = free_port()?;
        let inner = free_port()?.to_string();
        let file = self.render(template, file, port, self.sink, &[("@INNER@", &inner)])?;
        let arguments: &[&str] = match proxy {
            Proxy::Haproxy => &["-db", "-f", &file],
            Proxy::Nginx => &["-c", &file],
            Proxy::Stunnel => &[&file],
            Proxy::Envoy => &["-c", &file, "--concurrency", "1", "-l", "critical", "--disable-hot-restart"],
            Proxy::Pki | Proxy::Attested => &["ours", &file],
        };
        let mut running = self.pinned(self.proxy_core, &program, arguments, proxy.name())?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        running.until_listening(address)?;
        Ok(Started { address, pid: running.id(), _running: vec![running] })
    }

    /// plain -> egress -> hop -> workload -> plain: the hop alone has the proxies' core, and is what is measured.
    fn start_path(&self, program: &Path) -> Result<Started> {
        const PLAIN: &str = r#""plain""#;
        const MUTUAL: &str = r#"{ tls = "mutual", policy = "bench" }"#;
        let mut target = self.plain_sink;
        let mut running = Vec::new();
        for (name, core, upstream, downstream) in [
            ("workload", self.load_core, MUTUAL, PLAIN),
            ("hop", self.proxy_core, MUTUAL, MUTUAL),
            ("egress", self.load_core, PLAIN, MUTUAL),
        ] {
            let port = free_port()?;
            let more = [("@UPSTREAM@", upstream), ("@DOWNSTREAM@", downstream)];
            let template = include_str!("../peers/attested.toml");
            let file = self.render(template, &format!("{name}.toml"), port, target, &more)?;
            let mut process = self.pinned(core, program, &["ours", &file], name)?;
            target = SocketAddr::from(([127, 0, 0, 1], port));
            process.until_listening(target)?;
            running.insert(0, process);
        }
        Ok(Started { address: target, pid: running[1].id(), _running: running })
    }

    fn pinned(&self, core: usize, program: &Path, arguments: &[&str], name: &str) -> Result<Pinned> {
        let program = program.display().to_string();
        let command: Vec<_> = [program.as_str()].iter().chain(arguments).map(|&word| word.to_owned()).collect();
        Pinned::start(core, &command, &self.folder.join(format!("{name}.log")))
    }

    fn render(
        &self,
        template: &str,
        file: &str,
        port: u16,
        target: SocketAddr,
        more: &[(&str, &str)],
    ) -> Result<String> {
        let (certs, folder) = (self.certs().display().to_string(), self.folder.display().to_string());
        let (port, sink) = (port.to_string(), target.port().to_string());
        let known = [("@PORT@", port.as_str()), ("@SINK@", &sink), ("@CERTS@", &certs), ("@FOLDER@", &folder)];
        let text = known.iter().chain(more).fold(template.to_owned(), |text, (key, value)| text.replace(key, value));
        let file = self.folder.join(file);
        fs::write(&file, text)?;
        Ok(file.display().to_string())
    }
}

/// A program by its name, also where only root looks.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

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
    /// The same, with the hybrid group on both sides.
    Hybrid,
    /// The same, with two workers on both cores.
    TwoWorkers,
    /// Ours, the middle one of three hops of an attested path.
    Attested,
    /// Ours, plain to attested to plain: both hops are measured.
    Tunnel,
    /// rustls over tokio, and a loop that copies 64 KiB at a time: what one writes in an afternoon.
    CopyLoop,
    Haproxy,
    Nginx,
    Stunnel,
    Envoy,
    /// Plain to TLS to plain, as [`Tunnel`](Self::Tunnel) is, without attestation.
    Tng,
}

impl Proxy {
    pub(crate) const OURS: [Self; 5] = [Self::Pki, Self::Hybrid, Self::TwoWorkers, Self::Attested, Self::Tunnel];
    pub(crate) const PEERS: [Self; 6] =
        [Self::Envoy, Self::Haproxy, Self::Nginx, Self::Stunnel, Self::CopyLoop, Self::Tng];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pki => "ours, pki",
            Self::Hybrid => "ours, pki, X25519MLKEM768",
            Self::TwoWorkers => "ours, pki, 2 workers",
            Self::Attested => "ours, attested",
            Self::Tunnel => "ours, tunnel",
            Self::CopyLoop => "copy-loop",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Stunnel => "stunnel",
            Self::Envoy => "envoy",
            Self::Tng => "tng",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::OURS.into_iter().chain(Self::PEERS).find(|proxy| proxy.name() == name)
    }

    /// The program, if it is here. `ENVOY` and `TNG` name ones that are not installed.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let installed_or = |variable| std::env::var_os(variable).map(PathBuf::from).or_else(|| find(self.name()));
        match self {
            Self::Pki | Self::Hybrid | Self::TwoWorkers | Self::Attested | Self::Tunnel | Self::CopyLoop => {
                std::env::current_exe().ok()
            }
            Self::Envoy => installed_or("ENVOY"),
            Self::Tng => installed_or("TNG"),
            Self::Stunnel => find("stunnel4").or_else(|| find("stunnel")),
            Self::Haproxy | Self::Nginx => find(self.name()),
        }
    }

    /// The load speaks plain TCP to it: the hops at both ends of the path do the rest.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Self::Attested | Self::Tunnel | Self::Tng)
    }

    /// Hops on the way: an added latency is divided by them.
    pub(crate) fn hops(self) -> f64 {
        match self {
            Self::Attested => 3.0,
            Self::Tunnel | Self::Tng => 2.0,
            _ => 1.0,
        }
    }

    /// The hybrid group costs handshakes, and a second worker is for many streams; nothing else is different of them.
    pub(crate) fn is_measured_in(self, metric: &str) -> bool {
        match self {
            Self::Hybrid => metric == "handshakes",
            Self::TwoWorkers => metric.starts_with("64-"),
            // The hop before it makes the records: their size says nothing.
            _ => !(self.is_plain() && metric.ends_with("-byte")),
        }
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
    pub(crate) pids: Vec<u32>,
    /// Ended in this order, which is that of the path.
    _running: Vec<Pinned>,
}

impl Started {
    /// No proxy: the sink itself, while the proxies have nothing to do.
    pub(crate) fn at(address: SocketAddr, pids: Vec<u32>) -> Self {
        Self { address, pids, _running: Vec::new() }
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
        match proxy {
            Proxy::Attested => self.start_path(&program),
            Proxy::Tunnel => self.start_tunnel(&program),
            Proxy::Tng => self.start_tng(&program),
            _ => self.start_one(proxy, &program),
        }
    }

    fn start_one(&self, proxy: Proxy, program: &Path) -> Result<Started> {
        let (template, file) = match proxy {
            Proxy::Haproxy => (include_str!("../../peers/haproxy.cfg"), "haproxy.cfg"),
            Proxy::Nginx => (include_str!("../../peers/nginx.conf"), "nginx.conf"),
            Proxy::Stunnel => (include_str!("../../peers/stunnel.conf"), "stunnel.conf"),
            Proxy::Envoy => (include_str!("../../peers/envoy.yaml"), "envoy.yaml"),
            _ => (include_str!("../../peers/pki.toml"), "pki.toml"),
        };
        let (port, inner) = (free_port()?, free_port()?.to_string());
        let workers = if proxy == Proxy::TwoWorkers { "2" } else { "1" };
        let group = if proxy == Proxy::Hybrid { "X25519MLKEM768" } else { "X25519" };
        let more = [("@INNER@", inner.as_str()), ("@WORKERS@", workers), ("@GROUP@", group)];
        let file = self.render(template, file, port, self.sink, &more)?;
        let (listen, sink) = (format!("127.0.0.1:{port}"), self.sink.to_string());
        let certs = self.certs().display().to_string();
        let arguments: &[&str] = match proxy {
            Proxy::Haproxy => &["-db", "-f", &file],
            Proxy::Nginx => &["-c", &file],
            Proxy::Stunnel => &[&file],
            Proxy::Envoy => &["-c", &file, "--concurrency", "1", "-l", "critical", "--disable-hot-restart"],
            Proxy::CopyLoop => &["copy-loop", "--listen", &listen, "--target", &sink, "--certs", &certs],
            _ => &["ours", &file],
        };
        let cores = if proxy == Proxy::TwoWorkers { self.both_cores() } else { self.proxy_core.to_string() };
        let mut running = self.pinned(&cores, program, arguments, proxy.name())?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        running.until_listening(address)?;
        Ok(Started { address, pids: vec![running.id()], _running: vec![running] })
    }

    fn both_cores(&self) -> String {
        format!("{},{}", self.load_core, self.proxy_core)
    }

    /// plain -> egress -> hop -> workload -> plain: the hop alone has the proxies' core, and is what is measured.
    fn start_path(&self, program: &Path) -> Result<Started> {
        let hops = [
            ("workload", self.load_core, MUTUAL, PLAIN),
            ("hop", self.proxy_core, MUTUAL, MUTUAL),
            ("egress", self.load_core, PLAIN, MUTUAL),
        ];
        let (address, running) = self.start_hops(program, &hops)?;
        Ok(Started { address, pids: vec![running[1].id()], _running: running })
    }

    /// plain -> ingress -> egress -> plain, both on the proxies' core, and measured together.
    fn start_tunnel(&self, program: &Path) -> Result<Started> {
        let hops = [("egress", self.proxy_core, MUTUAL, PLAIN), ("ingress", self.proxy_core, PLAIN, MUTUAL)];
        let (address, running) = self.start_hops(program, &hops)?;
        Ok(Started { address, pids: running.iter().map(Pinned::id).collect(), _running: running })
    }

    /// Named from the last to the first; given from the first to the last.
    fn start_hops(&self, program: &Path, hops: &[(&str, usize, &str, &str)]) -> Result<(SocketAddr, Vec<Pinned>)> {
        let mut target = self.plain_sink;
        let mut running = Vec::new();
        for (name, core, upstream, downstream) in hops {
            let port = free_port()?;
            let more = [("@UPSTREAM@", *upstream), ("@DOWNSTREAM@", *downstream)];
            let template = include_str!("../../peers/attested.toml");
            let file = self.render(template, &format!("{name}.toml"), port, target, &more)?;
            let mut process = self.pinned(&core.to_string(), program, &["ours", &file], name)?;
            target = SocketAddr::from(([127, 0, 0, 1], port));
            process.until_listening(target)?;
            running.insert(0, process);
        }
        Ok((target, running))
    }

    fn start_tng(&self, program: &Path) -> Result<Started> {
        let mut target = self.plain_sink;
        let mut running = Vec::new();
        for (name, template) in [
            ("tng-egress", include_str!("../../peers/tng-egress.json")),
            ("tng-ingress", include_str!("../../peers/tng-ingress.json")),
        ] {
            let port = free_port()?;
            let file = self.render(template, &format!("{name}.json"), port, target, &[])?;
            let arguments = ["launch", "--config-file", &file];
            let mut process = self.pinned(&self.proxy_core.to_string(), program, &arguments, name)?;
            target = SocketAddr::from(([127, 0, 0, 1], port));
            process.until_listening(target)?;
            running.insert(0, process);
        }
        Ok(Started { address: target, pids: running.iter().map(Pinned::id).collect(), _running: running })
    }

    fn pinned(&self, cores: &str, program: &Path, arguments: &[&str], name: &str) -> Result<Pinned> {
        let program = program.display().to_string();
        let command: Vec<_> = [program.as_str()].iter().chain(arguments).map(|&word| word.to_owned()).collect();
        Pinned::start(cores, &command, &self.folder.join(format!("{name}.log")))
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

const PLAIN: &str = r#""plain""#;
const MUTUAL: &str = r#"{ tls = "mutual", policy = "bench" }"#;

/// A program by its name, also where only root looks.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

//! A real DNS server (unbound) on loopback that answers for the zones of a test.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::process::Process;
use crate::wait::{seconds, until};

/// A running name server.
pub struct Dns {
    process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl Dns {
    /// Serves `records`, each in the form of a zone file: `remote.test. MX 10 mx.remote.test.`
    /// Every zone below `.test` that no record names does not exist.
    pub async fn start(records: &[&str]) -> Result<Self> {
        let directory = TempDir::with_prefix("postino-dns-")?;
        // The port is free now; unbound cannot bind port 0 and say which it got.
        let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let configuration = directory.path().join("unbound.conf");
        fs::write(&configuration, text(directory.path(), address, records))?;
        let mut command = Command::new("/usr/sbin/unbound");
        command.args(["-d", "-p", "-c"]).arg(&configuration);
        let process = Process::start(&mut command, &directory.path().join("log"))?;
        let mut dns = Self {
            process,
            address,
            _directory: directory,
        };
        let process = &mut dns.process;
        let up = until("the name server answers", seconds(20), async || {
            if process.ended().is_some() {
                return Some(false);
            }
            TcpStream::connect(address).await.ok().map(|_| true)
        });
        anyhow::ensure!(up.await?, "unbound ended:\n{}", dns.process.output());
        Ok(dns)
    }

    /// Where it answers, by UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn text(directory: &std::path::Path, address: SocketAddr, records: &[&str]) -> String {
    let mut text = format!(
        "server:\n  interface: 127.0.0.1\n  port: {}\n  do-daemonize: no\n  username: \"\"\n  \
         chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  logfile: \"\"\n  \
         use-syslog: no\n  num-threads: 1\n  module-config: \"iterator\"\n  \
         access-control: 127.0.0.0/8 allow\n  local-zone: \"test.\" static\n",
        address.port(),
        dir = directory.display(),
    );
    for record in records {
        text.push_str(&format!("  local-data: '{record}'\n"));
    }
    text.push_str("remote-control:\n  control-enable: no\n");
    text
}

//! A real Exim and a real OpenSMTPD of the tests' own. Each takes mail for one domain, offers
//! STARTTLS, and hands the mail of `example.org` on to a given host.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::certificate;
use crate::jail::{Jail, SERVER, unpacked};
use crate::process::Process;
use crate::smtp::Smtp;
use crate::wait::{seconds, until};

/// A running server.
pub struct Mta {
    /// Ended before its directory goes.
    process: Process,
    address: SocketAddr,
    jail: Jail,
}

impl Mta {
    /// Exim, which takes mail for every address of `domain` except `nobody@`, and gives mail for
    /// `example.org` to `next`.
    pub async fn exim(domain: &str, next: SocketAddr) -> Result<Self> {
        let jail = Jail::new(&[("Debian-exim", SERVER)])?;
        let package = unpacked("exim4-daemon-light")?;
        jail.program(&package.join("usr/sbin/exim4"), "/usr/sbin/exim4")?;
        for directory in ["/var/spool/exim4", "/box"] {
            jail.directory(directory, Some(SERVER))?;
        }
        jail.directory("/tls", Some(SERVER))?;
        certificate::make(&jail.path("/tls"), &format!("mx.{domain}")).await?;
        std::os::unix::fs::chown(jail.path("/tls/key.pem"), Some(SERVER), Some(SERVER))?;
        let address = free()?;
        jail.write("/etc/exim4/exim4.conf", &exim(domain, address, next))?;
        let mut command = jail.command("/usr/sbin/exim4");
        command.args(["-bdf", "-oP", "/var/spool/exim4/pid"]);
        Self::start(jail, command, address).await
    }

    /// OpenSMTPD, which takes mail for `far@` and `root@` of `domain`, and gives mail for
    /// `example.org` to `next`.
    pub async fn opensmtpd(domain: &str, next: SocketAddr) -> Result<Self> {
        let users = [("opensmtpd", SERVER), ("opensmtpq", 102), ("far", 103)];
        let jail = Jail::new(&users)?;
        let package = unpacked("opensmtpd")?;
        for program in ["smtpd", "smtpctl"] {
            let inside = format!("/usr/sbin/{program}");
            jail.program(&package.join(&inside[1..]), &inside)?;
        }
        for helper in ["mail.maildir", "mail.mda"] {
            let inside = format!("/usr/libexec/opensmtpd/{helper}");
            jail.program(&package.join(&inside[1..]), &inside)?;
        }
        jail.program(Path::new("/bin/sh"), "/bin/sh")?;
        let authorities = "/etc/ssl/certs/ca-certificates.crt";
        jail.copy(Path::new(authorities), authorities)?;
        for directory in ["/var/lib/opensmtpd/empty", "/var/spool"] {
            jail.directory(directory, None)?;
        }
        jail.directory("/box", Some(103))?;
        jail.directory("/tls", None)?;
        certificate::make(&jail.path("/tls"), &format!("mx.{domain}")).await?;
        let address = free()?;
        jail.write("/etc/mailname", &format!("mx.{domain}\n"))?;
        jail.write("/etc/smtpd.conf", &opensmtpd(domain, address, next))?;
        let mut command = jail.command("/usr/sbin/smtpd");
        command.arg("-d");
        Self::start(jail, command, address).await
    }

    async fn start(
        jail: Jail,
        mut command: std::process::Command,
        address: SocketAddr,
    ) -> Result<Self> {
        let process = Process::start(&mut command, &jail.path("/log"))?;
        let mut mta = Self {
            process,
            address,
            jail,
        };
        let process = &mut mta.process;
        let up = until("the server greets", seconds(20), async || {
            if process.ended().is_some() {
                return Some(false);
            }
            Smtp::connect(address).await.ok().map(|_| true)
        });
        ensure!(up.await?, "the server ended:\n{}", mta.log());
        Ok(mta)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Waits until it has filed `count` letters, with Unix line ends.
    pub async fn wait_letters(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        let filed = async || {
            let files = fs::read_dir(self.jail.path("/box/new")).ok()?.flatten();
            let letters = files.filter_map(|file| fs::read(file.path()).ok());
            Some(letters.collect::<Vec<_>>()).filter(|letters| letters.len() >= count)
        };
        until(&format!("{count} letters filed"), seconds(20), filed)
            .await
            .with_context(|| self.log())
    }

    /// Runs a program of the jail to its end, with this input.
    pub async fn run(&self, program: &str, arguments: &[&str], input: &[u8]) -> Result<()> {
        let path = self.jail.path("/input");
        fs::write(&path, input)?;
        let mut command = self.jail.command(program);
        command.args(arguments).stdin(fs::File::open(&path)?);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let running = command.kill_on_drop(true).output();
        let output = tokio::time::timeout(seconds(30), running).await;
        let output = output.with_context(|| format!("{program} hangs"))??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program}: {said}\n{}", self.log());
        Ok(())
    }
}

/// A port that is free now: neither server can bind port 0 and say which it got.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn exim(domain: &str, address: SocketAddr, next: SocketAddr) -> String {
    format!(
        "primary_hostname = mx.{domain}\ndomainlist local_domains = {domain}\n\
         domainlist relay_domains = example.org\nlog_file_path = /var/spool/exim4/%slog\n\
         acl_smtp_rcpt = rcpt\ndeliver_drop_privilege\nhost_lookup =\nrfc1413_hosts =\n\
         keep_environment =\nlog_selector = +tls_cipher\ntls_advertise_hosts = *\n\
         tls_certificate = /tls/certificate.pem\ntls_privatekey = /tls/key.pem\n\
         local_interfaces = {ip}\ndaemon_smtp_ports = {port}\n\
         begin acl\nrcpt:\n  deny local_parts = nobody\n       message = no such user\n  \
         accept domains = +local_domains : +relay_domains\n  deny message = no relaying\n\
         begin routers\nlocal:\n  driver = accept\n  domains = +local_domains\n  \
         transport = box\nnext:\n  driver = manualroute\n  domains = +relay_domains\n  \
         route_list = * {next_ip}\n  self = send\n  transport = smtp\n\
         begin transports\nbox:\n  driver = appendfile\n  directory = /box\n  \
         maildir_format\n  user = Debian-exim\n\
         smtp:\n  driver = smtp\n  port = {next_port}\n\
         begin retry\n* * F,1h,1s\n",
        ip = address.ip(),
        port = address.port(),
        next_ip = next.ip(),
        next_port = next.port(),
    )
}

fn opensmtpd(domain: &str, address: SocketAddr, next: SocketAddr) -> String {
    format!(
        "pki here cert \"/tls/certificate.pem\"\npki here key \"/tls/key.pem\"\n\
         listen on {ip} port {port} tls pki here\naction in maildir \"/box\" user far\n\
         action out relay host \"smtp://{next}\"\n\
         match from any for domain \"{domain}\" action in\n\
         match from any for domain \"example.org\" action out\n",
        ip = address.ip(),
        port = address.port(),
    )
}

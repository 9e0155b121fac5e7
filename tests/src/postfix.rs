//! A real Postfix of the tests' own: the far end of remote delivery.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::program::run;
use crate::wait::{seconds, until};

/// Where Debian keeps Postfix's table of daemons as it was shipped.
const MASTER: [&str; 2] = [
    "/etc/postfix/master.cf.proto",
    "/usr/share/postfix/master.cf.dist",
];

/// A running Postfix that takes mail for one domain and files it, a file each, in a maildir.
pub struct Postfix {
    directory: TempDir,
    address: SocketAddr,
}

impl Postfix {
    /// Takes mail for every address of `domain` except `nobody@`, at a free port of loopback.
    /// Needs root, as Postfix does.
    pub async fn start(domain: &str) -> Result<Self> {
        // The port is free now; Postfix cannot bind port 0 and say which it got.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::start_at(domain, address).await
    }

    /// The same at a given address.
    pub async fn start_at(domain: &str, address: SocketAddr) -> Result<Self> {
        let directory = TempDir::with_prefix("postino-postfix-")?;
        let postfix = Self { directory, address };
        postfix.configure(domain)?;
        postfix.postfix("start").await?;
        let greeted = async || crate::smtp::Smtp::connect(address).await.ok();
        until("Postfix greets", seconds(30), greeted).await?;
        Ok(postfix)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, domain: &str) -> Result<()> {
        // Its daemons run as "postfix" and walk through the directory.
        open_to_all(self.directory.path())?;
        for name in ["etc", "spool", "data", "mail"] {
            fs::create_dir(self.path(name))?;
        }
        for name in ["data", "mail"] {
            let done = Command::new("chown")
                .arg("postfix")
                .arg(self.path(name))
                .status()?;
            ensure!(done.success(), "chown {name}");
        }
        let source = MASTER
            .iter()
            .find(|path| Path::new(path).exists())
            .context("master.cf")?;
        let master = fs::read_to_string(source)?;
        fs::write(self.path("etc/master.cf"), daemons(&master, self.address))?;
        fs::write(self.path("etc/main.cf"), self.main(domain)?)?;
        Ok(())
    }

    fn main(&self, domain: &str) -> Result<String> {
        let id = |flag: &str| -> Result<String> {
            let output = Command::new("id").args([flag, "postfix"]).output()?;
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        fs::write(self.path("etc/boxes"), "!/^nobody@/ box/\n")?;
        Ok(format!(
            "compatibility_level = 3.7\nqueue_directory = {dir}/spool\n\
             data_directory = {dir}/data\ncommand_directory = /usr/sbin\n\
             daemon_directory = /usr/lib/postfix/sbin\nmyhostname = mx.{domain}\n\
             mydestination =\ninet_interfaces = {ip}\ninet_protocols = ipv4\nmynetworks =\n\
             virtual_mailbox_domains = {domain}\n\
             virtual_mailbox_maps = regexp:{dir}/etc/boxes\nvirtual_mailbox_base = {dir}/mail\n\
             virtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{gid}\n\
             virtual_minimum_uid = 1\nalias_maps =\nsmtpd_peername_lookup = no\n\
             smtpd_relay_restrictions = reject_unauth_destination\n\
             maillog_file = {dir}/log\nmaillog_file_prefixes = {dir}\n\
             alternate_config_directories = {dir}/etc\n",
            dir = self.directory.path().display(),
            ip = self.address.ip(),
            uid = id("-u")?,
            gid = id("-g")?,
        ))
    }

    async fn postfix(&self, command: &str) -> Result<()> {
        let etc = self.path("etc");
        let environment = format!("MAIL_CONFIG={}", etc.display());
        let arguments = [
            &environment,
            "/usr/sbin/postfix",
            "-c",
            &etc.to_string_lossy(),
            command,
        ];
        run("env", &arguments).await?.success()?;
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The letters it has filed.
    pub fn letters(&self) -> Vec<Vec<u8>> {
        let files = fs::read_dir(self.path("mail/box/new"))
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter_map(|file| fs::read(file.path()).ok())
            .collect()
    }

    /// Waits until it has filed `count` letters.
    pub async fn wait_letters(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        let what = format!("{count} letters at Postfix");
        let enough = async || Some(self.letters()).filter(|letters| letters.len() >= count);
        until(&what, seconds(30), enough)
            .await
            .with_context(|| self.log())
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // Through its own pid file: the master ends its daemons.
        let Ok(pid) = fs::read_to_string(self.path("spool/pid/master.pid")) else {
            return;
        };
        let Ok(pid) = pid.trim().parse() else { return };
        let _ = crate::process::signal(pid, rustix::process::Signal::TERM);
    }
}

fn open_to_all(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(
        directory,
        fs::Permissions::from_mode(0o755),
    )?)
}

/// The table of daemons with our own SMTP listener, none of them in a chroot.
fn daemons(shipped: &str, address: SocketAddr) -> String {
    let mut lines = Vec::new();
    for line in shipped.lines() {
        let mut fields: Vec<&str> = line.split_whitespace().collect();
        let starts_service = line.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts_service || fields.len() < 8 {
            lines.push(line.to_owned());
            continue;
        }
        let listener = address.to_string();
        if fields[0] == "smtp" && fields[1] == "inet" {
            fields[0] = &listener;
        }
        fields[4] = "n";
        lines.push(fields.join(" "));
    }
    lines.join("\n") + "\n"
}

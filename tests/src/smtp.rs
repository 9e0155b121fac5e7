//! An SMTP client that shows every reply. Plain text; TLS is tested with other people's clients.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one reply may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A reply of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text of each line.
    pub lines: Vec<String>,
}

impl Reply {
    /// All lines as one text.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// The queue-id in a reply to the final dot.
    pub fn queue_id(&self) -> Option<&str> {
        self.lines
            .first()?
            .split("queued as ")
            .nth(1)?
            .split_whitespace()
            .next()
    }
}

/// A connection.
pub struct Smtp {
    stream: BufReader<TcpStream>,
}

impl Smtp {
    /// Connects and reads the greeting.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = timeout(LIMIT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let mut smtp = Self {
            stream: BufReader::new(stream),
        };
        let greeting = smtp.reply().await?;
        ensure!(greeting.code == 220, "greeted with {greeting:?}");
        Ok(smtp)
    }

    /// Connects and says EHLO.
    pub async fn greet(address: SocketAddr) -> Result<Self> {
        let mut smtp = Self::connect(address).await?;
        smtp.expect("EHLO client.test", 250).await?;
        Ok(smtp)
    }

    /// Reads one reply.
    pub async fn reply(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let n = timeout(LIMIT, self.stream.read_line(&mut line))
                .await
                .context("no reply")??;
            ensure!(n > 0, "the server closed the connection");
            let line = line.trim_end_matches("\r\n");
            let code = line.get(..3).and_then(|c| c.parse().ok());
            let code = code.with_context(|| format!("not a reply: {line:?}"))?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Sends octets as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(LIMIT, self.stream.get_mut().write_all(bytes))
            .await
            .context("cannot write")??;
        Ok(())
    }

    /// Sends a command and reads its reply.
    pub async fn command(&mut self, line: &str) -> Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Sends a command that must be answered with this code.
    pub async fn expect(&mut self, line: &str, code: u16) -> Result<Reply> {
        let reply = self.command(line).await?;
        if reply.code != code {
            bail!("{line:?}: {} {}", reply.code, reply.text());
        }
        Ok(reply)
    }

    /// AUTH PLAIN.
    pub async fn authenticate(&mut self, user: &str, password: &str) -> Result<Reply> {
        let token = STANDARD.encode(format!("\0{user}\0{password}"));
        self.command(&format!("AUTH PLAIN {token}")).await
    }

    /// One transaction up to the reply to the final dot. A refusal before is an error.
    pub async fn transaction(&mut self, from: &str, to: &[&str], message: &[u8]) -> Result<Reply> {
        let mut script = format!("MAIL FROM:<{from}> BODY=8BITMIME\r\n");
        for recipient in to {
            script.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
        }
        script.push_str("DATA\r\n");
        self.send(script.as_bytes()).await?;
        let mut refused = None;
        for _ in 0..=to.len() {
            let reply = self.reply().await?;
            if reply.code != 250 {
                refused.get_or_insert(reply);
            }
        }
        let go = self.reply().await?;
        if let Some(reply) = refused {
            bail!("refused: {} {}", reply.code, reply.text());
        }
        ensure!(go.code == 354, "DATA: {go:?}");
        self.data(message).await
    }

    /// Sends a message after 354, dots doubled, and reads the reply to the final dot.
    pub async fn data(&mut self, message: &[u8]) -> Result<Reply> {
        self.send(&dot_stuffed(message)).await?;
        self.reply().await
    }

    /// Reads until the server closes.
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        timeout(LIMIT, self.stream.read_to_end(&mut bytes))
            .await
            .context("stays open")??;
        Ok(bytes)
    }
}

/// The message as DATA wants it (RFC 5321 section 4.5.2), with the final dot.
pub fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len() + 16);
    for line in message.split_inclusive(|b| *b == b'\n') {
        if line.first() == Some(&b'.') {
            bytes.push(b'.');
        }
        bytes.extend_from_slice(line);
    }
    if !bytes.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b".\r\n");
    bytes
}

/// Sends one letter over a connection of its own, and gives its queue-id.
pub async fn send(address: SocketAddr, from: &str, to: &[&str], message: &[u8]) -> Result<String> {
    let mut smtp = Smtp::greet(address).await?;
    let reply = smtp.transaction(from, to, message).await?;
    ensure!(reply.code == 250, "not accepted: {reply:?}");
    smtp.expect("QUIT", 221).await?;
    Ok(reply.queue_id().context("a queue-id")?.to_owned())
}

/// Submits one letter as an authenticated user, and gives its queue-id.
pub async fn submit(
    address: SocketAddr,
    user: &str,
    password: &str,
    to: &[&str],
    message: &[u8],
) -> Result<String> {
    let mut smtp = Smtp::greet(address).await?;
    let reply = smtp.authenticate(user, password).await?;
    ensure!(reply.code == 235, "AUTH: {reply:?}");
    let reply = smtp.transaction(user, to, message).await?;
    ensure!(reply.code == 250, "not accepted: {reply:?}");
    smtp.expect("QUIT", 221).await?;
    Ok(reply.queue_id().context("a queue-id")?.to_owned())
}

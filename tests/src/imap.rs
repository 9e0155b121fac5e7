//! An IMAP client that shows every response with its literals.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait;

/// How long one line may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A response line with its literals taken out of it.
#[derive(Debug, Clone)]
pub struct Line {
    /// The text; a literal stands as its `{n}`.
    pub text: String,
    /// The literals, in order.
    pub literals: Vec<Vec<u8>>,
}

/// The responses to one command.
#[derive(Debug, Clone)]
pub struct Response {
    /// Untagged responses.
    pub untagged: Vec<Line>,
    /// "OK …", "NO …" or "BAD …".
    pub tagged: String,
}

impl Response {
    /// All literals of all untagged responses.
    pub fn literals(self) -> Vec<Vec<u8>> {
        self.untagged
            .into_iter()
            .flat_map(|line| line.literals)
            .collect()
    }

    /// The first untagged response that contains a text.
    pub fn find(&self, part: &str) -> Option<&Line> {
        self.untagged.iter().find(|line| line.text.contains(part))
    }
}

/// A connection.
pub struct Imap {
    stream: BufReader<TcpStream>,
    tag: u32,
}

impl Imap {
    /// Connects and reads the greeting.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = timeout(LIMIT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let mut imap = Self {
            stream: BufReader::new(stream),
            tag: 0,
        };
        let greeting = imap.line().await?;
        ensure!(
            greeting.text.starts_with("* OK"),
            "greeted with {greeting:?}"
        );
        Ok(imap)
    }

    /// Connects and logs in.
    pub async fn login(address: SocketAddr, user: &str, password: &str) -> Result<Self> {
        let mut imap = Self::connect(address).await?;
        imap.ok(&format!("LOGIN {user} {password}")).await?;
        Ok(imap)
    }

    /// Reads one line with its literals.
    pub async fn line(&mut self) -> Result<Line> {
        let mut line = Line {
            text: String::new(),
            literals: Vec::new(),
        };
        loop {
            let mut bytes = Vec::new();
            let read = self.stream.read_until(b'\n', &mut bytes);
            let n = timeout(LIMIT, read).await.context("no response")??;
            ensure!(n > 0, "the server closed the connection");
            let text = String::from_utf8_lossy(&bytes);
            line.text.push_str(text.trim_end_matches("\r\n"));
            let Some(length) = literal_length(&line.text) else {
                return Ok(line);
            };
            let mut literal = vec![0; length];
            timeout(LIMIT, self.stream.read_exact(&mut literal))
                .await
                .context("literal")??;
            line.literals.push(literal);
        }
    }

    /// Sends octets as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(LIMIT, self.stream.get_mut().write_all(bytes))
            .await
            .context("cannot write")??;
        Ok(())
    }

    /// Sends a command; the answer is still to be read with [`Imap::finish`].
    pub async fn begin(&mut self, command: &str) -> Result<()> {
        self.tag += 1;
        self.send(format!("a{} {command}\r\n", self.tag).as_bytes())
            .await
    }

    /// Reads the responses up to the tagged one of the last command.
    pub async fn finish(&mut self) -> Result<Response> {
        let tag = format!("a{} ", self.tag);
        let mut untagged = Vec::new();
        loop {
            let line = self.line().await?;
            if let Some(tagged) = line.text.strip_prefix(&tag) {
                return Ok(Response {
                    untagged,
                    tagged: tagged.to_owned(),
                });
            }
            untagged.push(line);
        }
    }

    /// Sends a command and reads its responses.
    pub async fn command(&mut self, command: &str) -> Result<Response> {
        self.begin(command).await?;
        self.finish().await
    }

    /// A command that must end with OK.
    pub async fn ok(&mut self, command: &str) -> Result<Response> {
        let response = self.command(command).await?;
        if !response.tagged.starts_with("OK") {
            bail!("{command:?}: {}", response.tagged);
        }
        Ok(response)
    }

    /// APPEND with a non-synchronising literal.
    pub async fn append(&mut self, mailbox: &str, message: &[u8]) -> Result<Response> {
        self.tag += 1;
        let head = format!("a{} APPEND {mailbox} {{{}+}}\r\n", self.tag, message.len());
        self.send(&[head.as_bytes(), message, b"\r\n"].concat())
            .await?;
        self.finish().await
    }

    /// How many messages a mailbox has (STATUS).
    pub async fn count(&mut self, mailbox: &str) -> Result<usize> {
        let response = self.ok(&format!("STATUS {mailbox} (MESSAGES)")).await?;
        let line = response.find("MESSAGES ").context("no STATUS response")?;
        let number = line.text.split("MESSAGES ").nth(1).unwrap_or_default();
        Ok(number.trim_end_matches(')').trim().parse()?)
    }

    /// Every message of a mailbox, whole, in order of UID.
    pub async fn messages(&mut self, mailbox: &str) -> Result<Vec<Vec<u8>>> {
        self.ok(&format!("EXAMINE {mailbox}")).await?;
        Ok(self.ok("UID FETCH 1:* (BODY.PEEK[])").await?.literals())
    }
}

/// The length in a line's final `{n}`.
fn literal_length(text: &str) -> Option<usize> {
    text.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}

/// Waits until an INBOX holds `count` messages, and gives them all.
pub async fn inbox(
    address: SocketAddr,
    user: &str,
    password: &str,
    count: usize,
) -> Result<Vec<Vec<u8>>> {
    let mut imap = Imap::login(address, user, password).await?;
    let what = format!("{count} messages in {user}'s INBOX");
    let enough = async || (imap.count("INBOX").await.ok()? >= count).then_some(());
    wait::until(&what, wait::seconds(30), enough).await?;
    imap.messages("INBOX").await
}

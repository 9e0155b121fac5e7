//! A client that says one thing after the other.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use postino_net::{ClientTls, Connection, Verification};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No reply takes longer than this, or the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A conversation.
pub(crate) struct Talk {
    connection: Connection,
    input: Vec<u8>,
}

impl Talk {
    /// Connects; the greeting is read and must be 220.
    pub(crate) async fn with(address: SocketAddr) -> Self {
        let mut talk = Self::connect(address).await;
        let greeting = talk.reply().await;
        assert!(greeting.starts_with("220 mx.example.org "), "{greeting}");
        talk
    }

    /// Connects with TLS from the start.
    pub(crate) async fn with_tls(address: SocketAddr) -> Self {
        let mut talk = Self::connect(address).await.encrypt().await;
        let greeting = talk.reply().await;
        assert!(greeting.starts_with("220 mx.example.org "), "{greeting}");
        talk
    }

    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        let connection = Connection::plain(stream).expect("addresses");
        Self {
            connection,
            input: Vec::new(),
        }
    }

    /// Shakes hands; nothing may have come ahead of it.
    pub(crate) async fn encrypt(self) -> Self {
        assert!(self.input.is_empty(), "{:?}", self.input);
        let tls = ClientTls::with_roots([], PATIENCE).expect("set up");
        let anybody = Verification::Opportunistic("mx.example.org".to_owned());
        let connection = tls.connect(self.connection, &anybody).await.expect("TLS");
        Self {
            connection,
            input: Vec::new(),
        }
    }

    /// Sends octets.
    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.connection
            .write_all(octets.as_ref())
            .await
            .expect("sent");
        self.connection.flush().await.expect("sent");
    }

    /// Sends a line and gives the reply.
    pub(crate) async fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.reply().await
    }

    /// The next reply, all its lines; empty if the server closed.
    pub(crate) async fn reply(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.read_reply())
            .await
            .expect("a reply in time")
    }

    async fn read_reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            while let Some(end) = self.input.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                reply.push_str(&String::from_utf8(line).expect("ASCII"));
                let last = reply.lines().next_back().expect("a line");
                if last.as_bytes().get(3) == Some(&b' ') {
                    return reply.trim_end().to_owned();
                }
            }
            let mut buffer = [0; 4096];
            match self.connection.read(&mut buffer).await {
                Ok(0) | Err(_) => return reply,
                Ok(read) => self.input.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Greets, and gives what is offered.
    pub(crate) async fn hello(&mut self) -> String {
        self.say("EHLO client.example.com").await
    }

    /// Begins a letter; each recipient must be accepted.
    pub(crate) async fn envelope(&mut self, sender: &str, recipients: &[&str]) {
        let reply = self.say(&format!("MAIL FROM:<{sender}>")).await;
        assert!(reply.starts_with("250 "), "{reply}");
        for recipient in recipients {
            let reply = self.say(&format!("RCPT TO:<{recipient}>")).await;
            assert!(reply.starts_with("250 "), "{reply}");
        }
    }

    /// Sends a letter, which has no line that begins with a dot; gives the reply to its end.
    pub(crate) async fn letter(&mut self, text: &str) -> String {
        let reply = self.say("DATA").await;
        assert!(reply.starts_with("354 "), "{reply}");
        self.send(text).await;
        self.say(".").await
    }
}

/// `AUTH PLAIN` with a password.
pub(crate) fn plain(user: &str, password: &str) -> String {
    let response = format!("\0{user}\0{password}");
    format!(
        "AUTH PLAIN {}",
        base64::engine::general_purpose::STANDARD.encode(response)
    )
}

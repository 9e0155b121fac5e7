//! A mail server that does as it is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

/// How the server behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// Instead of `220`.
    pub(crate) greeting: Option<&'static str>,
    /// EHLO keywords.
    pub(crate) offers: &'static [&'static str],
    /// Replies to `RCPT` by recipient; others get 250. More than one are given in turn.
    pub(crate) recipients: HashMap<&'static str, Vec<&'static str>>,
    /// Reply to `MAIL`; else 250.
    pub(crate) mail: Option<&'static str>,
    /// Reply to `DATA`; else 354, and the letter follows.
    pub(crate) data: Option<&'static str>,
    /// Replies to the final dot in turn; then 250. Empty: closes instead.
    pub(crate) dots: Vec<&'static str>,
}

/// A letter that the server took or refused at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) mail: String,
    pub(crate) recipients: Vec<String>,
    /// With dots removed.
    pub(crate) body: String,
}

pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    pub(crate) connections: AtomicUsize,
    manners: Manners,
    turns: Mutex<HashMap<String, usize>>,
    received: Mutex<Vec<Received>>,
}

impl MailServer {
    pub(crate) async fn start(manners: Manners) -> Arc<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(any, manners).await
    }

    pub(crate) async fn start_at(address: SocketAddr, manners: Manners) -> Arc<Self> {
        let listener = TcpListener::bind(address).await.expect("bound");
        let server = Arc::new(Self {
            address: listener.local_addr().expect("address"),
            connections: AtomicUsize::new(0),
            manners,
            turns: Mutex::default(),
            received: Mutex::default(),
        });
        let accepting = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                let server = Arc::clone(&accepting);
                // A client that breaks off is what some tests are about.
                tokio::spawn(async move { drop(server.session(stream).await) });
            }
        });
        server
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("lock").clone()
    }

    fn turn(&self, of: &str) -> usize {
        let mut turns = self.turns.lock().expect("lock");
        let turn = turns.entry(of.to_owned()).or_default();
        *turn += 1;
        *turn - 1
    }

    async fn session(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufStream::new(stream);
        reply(&mut stream, self.manners.greeting.unwrap_or("220 test")).await?;
        let (mut mail, mut recipients) = (String::new(), Vec::new());
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let command = line.trim_end().to_owned();
            let verb = command
                .split([' ', ':'])
                .next()
                .unwrap_or("")
                .to_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    reply(&mut stream, "250-test").await?;
                    for keyword in self.manners.offers {
                        reply(&mut stream, &format!("250-{keyword}")).await?;
                    }
                    reply(&mut stream, "250 HELP").await?;
                }
                "MAIL" => {
                    (mail, recipients) = (command, Vec::new());
                    reply(&mut stream, self.manners.mail.unwrap_or("250 2.1.0 ok")).await?;
                }
                "RCPT" => {
                    let address = command.split(['<', '>']).nth(1).unwrap_or("").to_owned();
                    let answer = match self.manners.recipients.get(address.as_str()) {
                        Some(answers) => answers[self.turn(&address).min(answers.len() - 1)],
                        None => "250 2.1.5 ok",
                    };
                    if answer.starts_with('2') {
                        recipients.push(address);
                    }
                    reply(&mut stream, answer).await?;
                }
                "DATA" if recipients.is_empty() => reply(&mut stream, "503 5.5.1 no").await?,
                "DATA" => {
                    if let Some(refusal) = self.manners.data {
                        reply(&mut stream, refusal).await?;
                        continue;
                    }
                    reply(&mut stream, "354 go").await?;
                    let body = body(&mut stream).await?;
                    let (mail, recipients) = (mail.clone(), std::mem::take(&mut recipients));
                    self.received.lock().expect("lock").push(Received {
                        mail,
                        recipients,
                        body,
                    });
                    match self.manners.dots.get(self.turn("the dot")) {
                        Some(&"") => return Ok(()),
                        Some(answer) => reply(&mut stream, answer).await?,
                        None => reply(&mut stream, "250 2.0.0 taken").await?,
                    }
                }
                // The handshake fails: what follows is no TLS.
                "STARTTLS" => {
                    reply(&mut stream, "220 go").await?;
                    stream
                        .write_all(b"this is not TLS at all, sorry\r\n")
                        .await?;
                    return stream.flush().await;
                }
                "QUIT" => return reply(&mut stream, "221 bye").await,
                _ => reply(&mut stream, "250 ok").await?,
            }
        }
    }
}

async fn reply(stream: &mut BufStream<TcpStream>, line: &str) -> std::io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await
}

async fn body(stream: &mut BufStream<TcpStream>) -> std::io::Result<String> {
    let mut body = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.as_str() {
            ".\r\n" => return Ok(body),
            line => body.push_str(line.strip_prefix('.').unwrap_or(line)),
        }
    }
}

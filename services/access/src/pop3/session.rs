//! One POP3 session: takes the steps that its machine asks for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postino_net::{Connection, plaintext_allowed};
use postino_pop3::{
    AuthenticateError, CommitError, Maildrop, MaildropError, Message, Plaintext, ReadError,
    Settings, Step, Tls, Wanted,
};
use postino_types::Uid;
use postino_types::sasl::Plain;

use super::hold::Hold;
use super::inbox::Inbox;
use super::link::{Closed, Link};
use super::server::Server;
use crate::account::MailAccount;
use crate::login::LoginError;
use crate::store_error::StoreError;

/// How long QUIT waits until it is certain that the maildrop is still held.
const CERTAINTY: Duration = Duration::from_secs(10);
/// Pause before the store is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// One session.
pub(super) struct Session {
    machine: postino_pop3::Server,
    link: Link,
    server: Arc<Server>,
    peer: SocketAddr,
    account: Option<MailAccount>,
    maildrop: Option<(Hold, Inbox)>,
}

impl Session {
    pub(super) fn new(server: Arc<Server>, connection: Connection) -> Self {
        let peer = connection.peer_address();
        let settings = settings(&server, &connection);
        Self {
            machine: postino_pop3::Server::new(settings),
            link: Link::new(connection, server.config.write_timeout.get()),
            server,
            peer,
            account: None,
            maildrop: None,
        }
    }

    /// Serves the client until one of both hangs up. However it ends, only QUIT deletes.
    pub(super) async fn run(mut self) {
        let closed = loop {
            let step = self.machine.step();
            if step == Step::Close {
                break self.flush().await.err();
            }
            if let Err(closed) = self.take(step).await {
                break Some(closed);
            }
        };
        // The maildrop is free before the client knows that the session is over.
        self.maildrop = None;
        self.link.close().await;
        if let Some(reason) = closed {
            tracing::debug!(peer = %self.peer, %reason, "POP3 session ended");
        }
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        let output = self.machine.take_output();
        self.link.send(&output).await
    }

    /// What a step waits for is boxed, so that a waiting session does not hold room for it.
    async fn take(&mut self, step: Step) -> Result<(), Closed> {
        self.flush().await?;
        match step {
            Step::Input => return self.input().await,
            Step::StartTls => return Box::pin(self.start_tls()).await,
            Step::Authenticate(plain) => Box::pin(self.authenticate(plain)).await,
            Step::OpenMaildrop => {
                let opened = Box::pin(self.open()).await;
                self.machine.opened(opened);
            }
            Step::Read(message) => return Box::pin(self.read(message)).await,
            Step::Commit(uids) => {
                let committed = Box::pin(self.commit(&uids)).await;
                self.machine.committed(committed);
            }
            Step::Flush => {}
            // Every step is answered before the next one is asked for.
            Step::Wait | Step::Close => self.machine.shut_down(),
        }
        Ok(())
    }

    async fn input(&mut self) -> Result<(), Closed> {
        let silence = match self.machine.is_authenticated() {
            true => self.server.config.idle_timeout.get(),
            false => self.server.config.login_timeout.get(),
        };
        let shutdown = self.server.shutdown.clone();
        match shutdown.until_begun(self.link.read(silence)).await {
            Some(octets) => self.machine.input(&octets?),
            None => self.machine.shut_down(),
        }
        Ok(())
    }

    async fn start_tls(&mut self) -> Result<(), Closed> {
        let server = Arc::clone(&self.server);
        match &server.tls {
            Some(tls) => {
                self.link.start_tls(tls).await?;
                self.machine.tls_started();
            }
            // STLS is not offered without it.
            None => self.machine.shut_down(),
        }
        Ok(())
    }

    async fn authenticate(&mut self, plain: Plain) {
        let result = match plain.user() {
            Ok(user) => self.server.logins.log_in(user, &plain.password).await,
            Err(_) => Err(LoginError::Wrong),
        };
        let metrics = &self.server.metrics;
        let result = match result {
            Ok(account) => {
                metrics.login("ok");
                self.account = Some(account);
                Ok(())
            }
            Err(LoginError::Wrong) => {
                metrics.login("wrong");
                tokio::time::sleep(self.server.config.login_failure_delay.get()).await;
                Err(AuthenticateError::Rejected)
            }
            Err(LoginError::Unavailable(error)) => {
                metrics.login("unavailable");
                tracing::warn!(%error, "a log-in could not be checked");
                Err(AuthenticateError::Unavailable)
            }
        };
        self.machine.authenticated(result);
    }

    async fn open(&mut self) -> Result<Maildrop, MaildropError> {
        let account = self.account.take().ok_or(MaildropError::Unavailable)?;
        let holder = format!("pop3 {} {:016x}", self.peer, fastrand::u64(..));
        let opened = async {
            let hold = Hold::take(account.clone(), holder).await?;
            let (inbox, maildrop) = Inbox::open(account).await?;
            Ok(((hold, inbox), maildrop))
        };
        match opened.await {
            Ok((held, maildrop)) => {
                self.maildrop = Some(held);
                Ok(maildrop)
            }
            Err(StoreError::InUse) => Err(MaildropError::InUse),
            Err(error) => {
                tracing::warn!(%error, "a maildrop could not be opened");
                Err(MaildropError::Unavailable)
            }
        }
    }

    /// Sends a message as it comes from the store. If it breaks off there, it is taken up again
    /// where it was, since the client could not be told.
    async fn read(&mut self, message: Message) -> Result<(), Closed> {
        let mut offset = 0;
        let mut retries = self.server.config.store_retries;
        let result = loop {
            let error = match self.read_from(message, &mut offset).await? {
                Ok(()) => break Ok(()),
                Err(error) => error,
            };
            match error {
                StoreError::NotFound => break Err(ReadError::Gone),
                StoreError::Unavailable(_) if retries > 0 => {
                    retries -= 1;
                    tokio::time::sleep(PAUSE).await;
                }
                error => {
                    tracing::warn!(%error, "a message could not be read");
                    break Err(ReadError::Unavailable);
                }
            }
        };
        if result.is_ok() {
            self.server.metrics.read.inc();
        }
        self.machine.read(result);
        Ok(())
    }

    async fn read_from(
        &mut self,
        message: Message,
        offset: &mut u64,
    ) -> Result<Result<(), StoreError>, Closed> {
        if *offset >= message.size {
            return Ok(Ok(()));
        }
        let Some((_, inbox)) = &self.maildrop else {
            return Ok(Err(StoreError::NotFound));
        };
        let mut chunks = match inbox.read(message, *offset).await {
            Ok(chunks) => chunks,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            match chunks.message().await {
                Ok(Some(chunk)) => {
                    *offset += chunk.data.len() as u64;
                    let wanted = self.machine.chunk(&chunk.data);
                    self.flush().await?;
                    if wanted == Wanted::Enough {
                        return Ok(Ok(()));
                    }
                }
                Ok(None) if *offset == message.size => return Ok(Ok(())),
                Ok(None) => {
                    let text = format!("{offset} of {} octets came", message.size);
                    return Ok(Err(StoreError::Unavailable(text)));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    async fn commit(&mut self, uids: &[Uid]) -> Result<(), CommitError> {
        let (hold, inbox) = self.maildrop.as_mut().ok_or(CommitError)?;
        if !hold.confirm(CERTAINTY).await {
            tracing::warn!(peer = %self.peer, "a maildrop was lost to another session");
            return Err(CommitError);
        }
        let mut retries = self.server.config.store_retries;
        while let Err(error) = inbox.remove(uids).await {
            if retries == 0 || !matches!(error, StoreError::Unavailable(_)) {
                tracing::warn!(%error, "messages could not be deleted");
                return Err(CommitError);
            }
            retries -= 1;
            tokio::time::sleep(PAUSE).await;
        }
        self.server.metrics.deleted.inc_by(uids.len() as u64);
        Ok(())
    }
}

fn settings(server: &Server, connection: &Connection) -> Settings {
    let config = &server.config;
    let tls = match (connection.tls(), &server.tls) {
        (Some(_), _) => Tls::Active,
        (None, Some(_)) => Tls::Available,
        (None, None) => Tls::Unavailable,
    };
    let peer = connection.peer_address();
    let plaintext = match plaintext_allowed(server.plaintext, peer, connection.tls()) {
        true => Plaintext::Allowed,
        false => Plaintext::Refused,
    };
    Settings {
        max_line: config.max_line.as_usize(),
        max_response: config.max_response.as_usize(),
        max_errors: config.max_bad_commands,
        max_failures: config.max_login_failures,
        ..Settings::new(server.hostname.clone(), tls, plaintext)
    }
}

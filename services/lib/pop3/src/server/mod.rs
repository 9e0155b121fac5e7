//! The server's side of a session (RFC 1939 section 3).
//!
//! What a command does is a total `match`, one for each state: [`authorization`] and
//! [`transaction`]. The UPDATE state is the one [`Step::Commit`] that QUIT leads to; nothing else
//! deletes a message, so a connection that is lost deletes nothing.

mod authorization;
mod output;
mod transaction;

use postino_types::Uid;

use crate::command::{Command, CommandError};
use crate::line::{Line, LineReader};
use crate::maildrop::{Maildrop, Message};
use authorization::Authorization;
use output::{Code, Output};
use postino_types::sasl::Plain;
use transaction::Transaction;
pub use transaction::Wanted;

/// Output that is collected before it has to be sent.
const FLUSH_AT: usize = 32 << 10;

/// Whether the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// It is not, and STLS is not offered.
    Unavailable,
    /// It is not yet: STLS is offered.
    Available,
    /// It is.
    Active,
}

/// Whether a password may come over a connection without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plaintext {
    /// It may.
    Allowed,
    /// It may not: USER, PASS and AUTH PLAIN are refused until TLS is active.
    Refused,
}

/// What holds for one session.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name the greeting gives.
    pub hostname: String,
    /// Whether the connection is protected.
    pub tls: Tls,
    /// Whether passwords may come without TLS.
    pub plaintext: Plaintext,
    /// Octets of a command line, without its end.
    pub max_line: usize,
    /// Octets of a SASL response line, without its end (RFC 4954 section 4 names 12288).
    pub max_response: usize,
    /// Lines that are no valid command before the session is closed.
    pub max_errors: u32,
    /// Failed log-ins before the session is closed.
    pub max_failures: u32,
}

impl Settings {
    /// The defaults for a host: 512 and 12288 octets, 20 errors, 3 failures.
    pub fn new(hostname: impl Into<String>, tls: Tls, plaintext: Plaintext) -> Self {
        Self {
            hostname: hostname.into(),
            tls,
            plaintext,
            max_line: 512,
            max_response: 12_288,
            max_errors: 20,
            max_failures: 3,
        }
    }
}

/// What is to be done next. Output is to be sent before a step is taken that waits for something.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Read from the client, and hand it to [`Server::input`].
    Input,
    /// Send the output; more follows.
    Flush,
    /// Start TLS, then call [`Server::tls_started`]. Anything read from the client before that is
    /// gone (RFC 2595 section 4).
    StartTls,
    /// Check these, then call [`Server::authenticated`].
    Authenticate(Plain),
    /// Take the maildrop for this session alone, then call [`Server::opened`].
    OpenMaildrop,
    /// Read a message: its octets go to [`Server::chunk`], their end to [`Server::read`].
    Read(Message),
    /// Delete these messages for good, then call [`Server::committed`].
    Commit(Vec<Uid>),
    /// The answer to the last step is awaited.
    Wait,
    /// Send the output and close the connection.
    Close,
}

/// Why a log-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticateError {
    /// User and password do not fit, or there is no such user; the client is not told which.
    #[error("authentication failed")]
    Rejected,
    /// It could not be checked now.
    #[error("authentication is not possible now, try again later")]
    Unavailable,
}

/// Why a maildrop was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MaildropError {
    /// Another session has it.
    #[error("the maildrop is in use by another session")]
    InUse,
    /// It cannot be reached now.
    #[error("the maildrop is not available now, try again later")]
    Unavailable,
}

/// Why a message was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It has been removed, by an IMAP session for example.
    #[error("the message is gone")]
    Gone,
    /// It cannot be reached now.
    #[error("the message is not available now, try again later")]
    Unavailable,
}

/// Why marked messages were not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deleted messages could not be removed")]
pub struct CommitError;

#[derive(Debug)]
enum State {
    Authorization(Authorization),
    Transaction(Box<Transaction>),
    Closing,
}

/// One session.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    lines: LineReader,
    output: Output,
    state: State,
    errors: u32,
    failures: u32,
}

impl Server {
    /// A session that greets.
    pub fn new(settings: Settings) -> Self {
        let mut output = Output::default();
        output.ok(&format!("{} POP3 server ready", settings.hostname));
        Self {
            settings,
            lines: LineReader::default(),
            output,
            state: State::Authorization(Authorization::Idle { user: None }),
            errors: 0,
            failures: 0,
        }
    }

    /// Takes octets from the client.
    pub fn input(&mut self, octets: &[u8]) {
        self.lines.push(octets);
    }

    /// Takes the octets that are to be sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.output.take()
    }

    /// Whether a client is logged in.
    pub fn is_authenticated(&self) -> bool {
        matches!(self.state, State::Transaction(_))
    }

    /// Whether the session waits for a command, so that nothing is cut off by closing it.
    pub fn is_idle(&self) -> bool {
        match &self.state {
            State::Authorization(authorization) => authorization.takes_lines(),
            State::Transaction(transaction) => transaction.is_idle(),
            State::Closing => false,
        }
    }

    /// Tells what is to be done next.
    pub fn step(&mut self) -> Step {
        loop {
            if self.output.len() >= FLUSH_AT {
                return Step::Flush;
            }
            let limit = match &mut self.state {
                State::Closing => return Step::Close,
                State::Authorization(state @ Authorization::Authenticated) => {
                    *state = Authorization::Opening;
                    return Step::OpenMaildrop;
                }
                State::Authorization(Authorization::Exchange) => self.settings.max_response,
                State::Authorization(Authorization::Idle { .. }) => self.settings.max_line,
                State::Authorization(_) => return Step::Wait,
                State::Transaction(state) => {
                    if state.list(&mut self.output) {
                        continue;
                    }
                    if !state.is_idle() {
                        return Step::Wait;
                    }
                    self.settings.max_line
                }
            };
            let step = match self.lines.next(limit) {
                None => return Step::Input,
                Some(Line::TooLong) => {
                    self.error("line too long");
                    None
                }
                Some(Line::Whole(line)) => self.line(&line),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Says goodbye and closes, as on a shutdown; marked messages stay.
    pub fn shut_down(&mut self) {
        if self.is_idle() {
            self.output.error(
                Some(Code::SysTemp),
                "server is shutting down, try again later",
            );
        }
        self.state = State::Closing;
    }

    fn line(&mut self, line: &[u8]) -> Option<Step> {
        if matches!(self.state, State::Authorization(Authorization::Exchange)) {
            return self.response(line);
        }
        match Command::parse(line) {
            Ok(command) => match self.state {
                State::Authorization(_) => self.authorization(command),
                State::Transaction(_) => self.transaction(command),
                State::Closing => None,
            },
            Err(CommandError::Number) if self.is_authenticated() => {
                self.output.error(None, "no such message");
                None
            }
            Err(error) => {
                self.error(&error.to_string());
                None
            }
        }
    }

    /// Answers a line that is no command that could be carried out.
    fn error(&mut self, text: &str) {
        self.output.error(None, text);
        self.errors += 1;
        if self.errors >= self.settings.max_errors {
            self.output.error(None, "too many errors");
            self.state = State::Closing;
        }
    }

    /// Answers CAPA (RFC 2449 section 5), which is valid in both states.
    fn capabilities(&mut self) {
        let mut lines = vec!["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"];
        let authorizing = matches!(self.state, State::Authorization(_));
        if self.password_allowed() {
            lines.extend(["USER", "SASL PLAIN"]);
        }
        if authorizing && self.settings.tls == Tls::Available {
            lines.push("STLS");
        }
        lines.extend(["EXPIRE NEVER", "IMPLEMENTATION Postino"]);
        self.output.ok("capabilities follow");
        self.output.lines(lines);
    }

    fn password_allowed(&self) -> bool {
        self.settings.tls == Tls::Active || self.settings.plaintext == Plaintext::Allowed
    }
}

/// Starts the transaction of an opened maildrop.
fn begin(output: &mut Output, maildrop: Maildrop) -> State {
    let (count, size) = maildrop.totals();
    output.ok(&format!("{count} messages, {size} octets"));
    State::Transaction(Box::new(Transaction::new(maildrop)))
}

//! The client's machine: one connection to a server of SMTP or LMTP, letter after letter.
//!
//! The driver feeds what it reads ([`Client::receive`]) and carries out what
//! [`Client::next_action`] says until it says nothing; then it reads again. On [`Action::Ready`] it
//! hands over a letter with [`Client::send`] or says [`Client::quit`]; on [`Action::SendBody`] it
//! passes the letter through [`Client::body`] and, if it still may, [`Client::finish_body`].

mod capabilities;
mod machine;
mod report;
mod transaction;

use std::time::Duration;

use bytes::Bytes;
use postino_types::sasl::Plain;
use postino_types::{Recipient, ReversePath};

use crate::{BodyKind, ClientName, Internationalized, ReplyLimits};

pub use capabilities::Capabilities;
pub use machine::Client;
pub use report::{Outcome, RecipientReport, Report, SessionFailure, Stage};

/// Which protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: `LHLO`, and one reply per recipient after the final dot.
    Lmtp,
}

/// Whether to encrypt with STARTTLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsUse {
    /// Do not, even if it is offered.
    Never,
    /// Do if it is offered (RFC 7435).
    Opportunistic,
    /// Send nothing without it.
    Required,
}

/// What the bytes travel on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// In the open.
    Plain,
    /// Through TLS.
    Tls,
}

/// How a client behaves on one connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name it gives itself.
    pub hello: ClientName,
    /// The protocol.
    pub protocol: Protocol,
    /// The use of STARTTLS; of no effect on a connection that starts with TLS.
    pub tls: TlsUse,
    /// To log in with AUTH PLAIN. They are sent in the open only if `tls` is [`TlsUse::Never`].
    pub credentials: Option<Plain>,
    /// Bounds of what is read.
    pub replies: ReplyLimits,
}

impl Settings {
    /// SMTP with opportunistic TLS and no login.
    pub fn new(hello: ClientName) -> Self {
        Self {
            hello,
            protocol: Protocol::Smtp,
            tls: TlsUse::Opportunistic,
            credentials: None,
            replies: ReplyLimits::default(),
        }
    }
}

/// The envelope of a letter that is to be sent.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Where failures are reported to.
    pub reverse_path: ReversePath,
    /// For whom it is; the report has one entry for each, in this order. Not empty.
    pub recipients: Vec<Recipient>,
    /// Octets of the body, before dots are added.
    pub size: u64,
    /// Whether the body is eight-bit. It is sent so even to a server without 8BITMIME: a
    /// conversion would break signatures, and such servers pass eight-bit data on.
    pub body: BodyKind,
    /// Whether the letter needs SMTPUTF8.
    pub internationalized: Internationalized,
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes.
    Send(Bytes),
    /// Start TLS on the connection, then call `tls_established` or `tls_failed`.
    StartTls,
    /// The connection is ready for a letter.
    Ready,
    /// The server waits for the body.
    SendBody,
    /// The letter is settled for this connection; `Ready` or `Close` follows.
    Done(Report),
    /// The connection never became, or is no longer, ready; no letter was under way.
    Failed(SessionFailure),
    /// Close the connection.
    Close,
}

/// What the client waits for. Each has its own time limit (RFC 5321 section 4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The greeting.
    Greeting,
    /// The reply to a greeting of ours, to STARTTLS, AUTH, RSET or QUIT.
    Hello,
    /// The reply to `MAIL`.
    Mail,
    /// The reply to a `RCPT`.
    Recipient,
    /// The `354`.
    DataStart,
    /// That the server takes more of the body.
    DataBlock,
    /// The reply to the final dot.
    DataEnd,
    /// Nothing: it is the driver's turn.
    Driver,
}

impl Wait {
    /// The least time RFC 5321 section 4.5.3.2 has a client wait.
    pub fn rfc_timeout(self) -> Duration {
        let minutes = match self {
            Self::DataStart => 2,
            Self::DataBlock => 3,
            Self::DataEnd => 10,
            _ => 5,
        };
        Duration::from_secs(60 * minutes)
    }
}

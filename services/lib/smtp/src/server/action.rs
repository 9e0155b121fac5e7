//! What the machine asks for, and the answers.

use bytes::Bytes;
use postino_types::sasl::Plain;
use postino_types::{QueueId, Reply};

use crate::{DataFault, DataSummary, MailCommand, RcptCommand};

/// Tells one pending recipient from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes.
    Send(Bytes),
    /// Start TLS on the connection, then say [`Event::TlsEstablished`]; if it fails, close.
    StartTls,
    /// Check credentials, then say [`Event::Authenticated`].
    Authenticate(Plain),
    /// A transaction begins: say [`Event::Sender`]. What was known of an earlier one is void.
    CheckSender(MailCommand),
    /// Say [`Event::Recipient`] with this ticket; others may be asked for meanwhile.
    CheckRecipient(Ticket, RcptCommand),
    /// The transaction is over without a letter; open tickets are void.
    Reset,
    /// Get ready for a letter, then say [`Event::Open`].
    OpenBody,
    /// A piece of the letter.
    BodyChunk(Bytes),
    /// The letter is refused, for this reason; no more of it comes. The machine sends the reply.
    BodyRefused(DataFault),
    /// The letter is whole: store it, then say [`Event::HandOver`].
    BodyEnd(DataSummary),
    /// Close the connection.
    Close,
}

/// Whether to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, with the usual reply.
    Accept,
    /// No, with this reply. 421 closes the connection.
    Refuse(Reply),
}

/// What became of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// They are right.
    Accepted,
    /// They are wrong.
    Rejected,
    /// They could not be checked now.
    Unavailable,
}

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOver {
    /// It is stored under this id: the server is responsible for it (RFC 5321 section 6.1).
    Accepted(QueueId),
    /// It is not stored.
    Refused(Reply),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// TLS is up.
    TlsEstablished,
    /// The answer to [`Action::Authenticate`].
    Authenticated(Authentication),
    /// The answer to [`Action::CheckSender`].
    Sender(Verdict),
    /// The answer to [`Action::CheckRecipient`].
    Recipient(Ticket, Verdict),
    /// The answer to [`Action::OpenBody`].
    Open(Verdict),
    /// While the letter comes in: it will be refused. The rest of it is read and dropped.
    RefuseBody(Reply),
    /// The answer to [`Action::BodyEnd`].
    HandOver(HandOver),
    /// The client was silent for too long.
    Timeout,
    /// The server goes down: the session ends as soon as no letter is under way.
    Shutdown,
}

//! What became of a letter, or of a connection.

use postino_types::{Permanence, Reply};

use crate::ReplyError;

/// Where in the conversation an answer was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// On connecting.
    Greeting,
    /// After `EHLO`, `HELO` or `LHLO`. A letter is refused at this stage by the client itself, for
    /// what the server does not offer.
    Hello,
    /// After `STARTTLS`.
    StartTls,
    /// After `AUTH`.
    Auth,
    /// After `MAIL`.
    Mail,
    /// After `RCPT`.
    Rcpt,
    /// After `DATA`, or while the body was sent.
    Data,
    /// After the final dot.
    EndOfData,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server has taken the letter for it.
    Delivered(Reply),
    /// The server, or this client on what the server announced, refused: 4xx or 5xx.
    Refused(Reply),
    /// The connection ended before the final dot: the server has not taken it.
    Lost(String),
    /// The connection ended after the final dot: the server may have taken it.
    Unknown(String),
}

impl Outcome {
    /// For what is not a delivery, whether another attempt may help.
    pub fn failure(&self) -> Option<Permanence> {
        match self {
            Self::Delivered(_) => None,
            Self::Refused(reply) => reply.failure(),
            Self::Lost(_) | Self::Unknown(_) => Some(Permanence::Temporary),
        }
    }
}

/// The result for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientReport {
    /// When it was decided.
    pub stage: Stage,
    /// What was decided.
    pub outcome: Outcome,
}

/// The results of a letter: one for each recipient, in the order of the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The results.
    pub recipients: Vec<RecipientReport>,
}

/// Why a connection cannot carry letters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionFailure {
    /// The server refused.
    #[error("the server said: {reply}")]
    Refused {
        /// After what.
        stage: Stage,
        /// The refusal.
        reply: Reply,
    },
    /// TLS is required, and not offered or refused (RFC 3207 section 4).
    #[error("TLS is required, but the server does not offer it")]
    TlsNotOffered,
    /// TLS could not be set up; with opportunistic TLS, the driver may connect again without.
    #[error("TLS could not be set up: {0}")]
    TlsFailed(String),
    /// A login is needed, and AUTH PLAIN is not offered.
    #[error("the server does not offer AUTH PLAIN")]
    AuthNotOffered,
    /// The peer does not speak the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] ReplyError),
    /// A reply that answers nothing.
    #[error("the server sent a reply that nothing asked for: {0}")]
    Unexpected(Reply),
    /// The connection ended.
    #[error("the connection was lost: {0}")]
    Lost(String),
}

impl SessionFailure {
    /// Whether another attempt at this host may help.
    pub fn permanence(&self) -> Permanence {
        match self {
            Self::Refused { reply, .. } => reply.failure().unwrap_or(Permanence::Temporary),
            _ => Permanence::Temporary,
        }
    }
}

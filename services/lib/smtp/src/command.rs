//! Commands (RFC 5321 section 4.1.1 and extensions): what bytes they are made of.

mod parse;
mod path;

use bytes::{BufMut, BytesMut};
use postino_types::{Recipient, ReversePath, Secret};

/// Why a line is no command that can be obeyed. `server` maps each to a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such command.
    #[error("unknown command")]
    Unknown,
    /// The line is not UTF-8, or has control characters.
    #[error("a command has octets that it must not have")]
    Octets,
    /// The command's argument is missing, superfluous or malformed.
    #[error("syntax error in the argument")]
    Argument,
    /// The reverse-path is malformed.
    #[error("the sender address is not valid")]
    ReversePath,
    /// The forward-path is malformed.
    #[error("the recipient address is not valid")]
    ForwardPath,
    /// A parameter of `MAIL` or `RCPT` has a value that it must not have.
    #[error("the value of a parameter is not valid")]
    ParameterValue,
    /// A parameter of `MAIL` or `RCPT` is not known (RFC 5321 section 4.1.1.11).
    #[error("unknown parameter")]
    ParameterUnknown,
}

/// The name a client gives itself: visible ASCII, at most 255 octets. It proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName(Box<str>);

impl ClientName {
    /// The name, unless it is empty, too long, or has octets that have no place in a header.
    pub fn new(name: &str) -> Result<Self, CommandError> {
        let visible = |b: u8| b.is_ascii_graphic() && !matches!(b, b'(' | b')' | b'\\' | b'"');
        match (1..=255).contains(&name.len()) && name.bytes().all(visible) {
            true => Ok(Self(name.into())),
            false => Err(CommandError::Argument),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The `BODY` parameter (RFC 6152 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// Not said, or `7BIT`.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

/// Whether `SMTPUTF8` was given (RFC 6531 section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Internationalized {
    /// Addresses and header are ASCII.
    #[default]
    No,
    /// Addresses or header may hold UTF-8.
    Yes,
}

/// `MAIL FROM:<reverse-path> [parameters]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailCommand {
    /// Where failures are reported to.
    pub reverse_path: ReversePath,
    /// `SIZE=`: octets that will come (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: BodyKind,
    /// `SMTPUTF8`.
    pub internationalized: Internationalized,
    /// `AUTH=`: who submitted the letter first, still in xtext (RFC 4954 section 5).
    pub submitter: Option<String>,
}

impl MailCommand {
    /// The command without parameters.
    pub fn new(reverse_path: ReversePath) -> Self {
        Self {
            reverse_path,
            size: None,
            body: BodyKind::SevenBit,
            internationalized: Internationalized::No,
            submitter: None,
        }
    }
}

/// `RCPT TO:<forward-path>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RcptCommand {
    /// For whom the letter is.
    pub recipient: Recipient,
}

/// `AUTH mechanism [initial-response]` (RFC 4954 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthCommand {
    /// The mechanism's name, in upper case.
    pub mechanism: String,
    /// The first response in base64, if it came along.
    pub initial: Option<Secret>,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `HELO name`.
    Helo(ClientName),
    /// `EHLO name`.
    Ehlo(ClientName),
    /// `LHLO name`, the greeting of LMTP (RFC 2033 section 4.1).
    Lhlo(ClientName),
    /// `MAIL FROM:…`.
    Mail(MailCommand),
    /// `RCPT TO:…`.
    Rcpt(RcptCommand),
    /// `DATA`.
    Data,
    /// `RSET`.
    Rset,
    /// `NOOP`, with or without an argument.
    Noop,
    /// `VRFY text`.
    Vrfy(String),
    /// `EXPN text`.
    Expn(String),
    /// `HELP`, with or without an argument.
    Help,
    /// `QUIT`.
    Quit,
    /// `STARTTLS` (RFC 3207).
    StartTls,
    /// `AUTH …`.
    Auth(AuthCommand),
}

impl Command {
    /// Parses a line without its CRLF.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        parse::command(line)
    }

    /// Appends the line with its CRLF.
    pub fn encode(&self, output: &mut BytesMut) {
        let line = match self {
            Self::Helo(name) => format!("HELO {}", name.as_str()),
            Self::Ehlo(name) => format!("EHLO {}", name.as_str()),
            Self::Lhlo(name) => format!("LHLO {}", name.as_str()),
            Self::Mail(mail) => mail_line(mail),
            Self::Rcpt(rcpt) => format!("RCPT TO:<{}>", rcpt.recipient),
            Self::Data => "DATA".to_owned(),
            Self::Rset => "RSET".to_owned(),
            Self::Noop => "NOOP".to_owned(),
            Self::Vrfy(text) => format!("VRFY {text}"),
            Self::Expn(text) => format!("EXPN {text}"),
            Self::Help => "HELP".to_owned(),
            Self::Quit => "QUIT".to_owned(),
            Self::StartTls => "STARTTLS".to_owned(),
            Self::Auth(auth) => match &auth.initial {
                Some(initial) => format!("AUTH {} {}", auth.mechanism, initial.expose()),
                None => format!("AUTH {}", auth.mechanism),
            },
        };
        output.put_slice(line.as_bytes());
        output.put_slice(b"\r\n");
    }
}

fn mail_line(mail: &MailCommand) -> String {
    let mut line = format!("MAIL FROM:<{}>", mail.reverse_path);
    if let Some(size) = mail.size {
        line.push_str(&format!(" SIZE={size}"));
    }
    if mail.body == BodyKind::EightBitMime {
        line.push_str(" BODY=8BITMIME");
    }
    if mail.internationalized == Internationalized::Yes {
        line.push_str(" SMTPUTF8");
    }
    if let Some(submitter) = &mail.submitter {
        line.push_str(&format!(" AUTH={submitter}"));
    }
    line
}

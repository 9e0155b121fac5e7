//! Commands (RFC 1939 section 9, RFC 2449 section 5, RFC 2595 section 4, RFC 5034 section 4).

use postino_types::Secret;

use crate::maildrop::MessageNumber;

/// A command of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `USER name`
    User(String),
    /// `PASS password`; everything after the first space is the password.
    Pass(Secret),
    /// `AUTH mechanism [initial-response]`
    Auth {
        /// The mechanism, upper case.
        mechanism: String,
        /// The initial response, in base64; empty if it was given as `=`.
        initial: Option<Vec<u8>>,
    },
    /// `AUTH` alone: which mechanisms are there.
    AuthList,
    /// `CAPA`
    Capa,
    /// `STLS`
    Stls,
    /// `STAT`
    Stat,
    /// `LIST [msg]`
    List(Option<MessageNumber>),
    /// `UIDL [msg]`
    Uidl(Option<MessageNumber>),
    /// `RETR msg`
    Retr(MessageNumber),
    /// `TOP msg n`
    Top(MessageNumber, u32),
    /// `DELE msg`
    Dele(MessageNumber),
    /// `NOOP`
    Noop,
    /// `RSET`
    Rset,
    /// `QUIT`
    Quit,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The keyword is not known.
    #[error("unknown command")]
    Unknown,
    /// The arguments do not fit the command.
    #[error("bad arguments")]
    Arguments,
    /// The argument is no message number.
    #[error("no such message")]
    Number,
}

impl Command {
    /// Reads a line without its end.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let line = match std::str::from_utf8(line) {
            Ok(line) => line,
            Err(_) => return Err(CommandError::Arguments),
        };
        let (keyword, rest) = match line.split_once(' ') {
            Some((keyword, rest)) => (keyword, Some(rest)),
            None => (line.trim_end(), None),
        };
        // A password may start or end with blanks; nothing else does.
        let arguments: Vec<&str> = rest.unwrap_or_default().split_ascii_whitespace().collect();
        match (keyword.to_ascii_uppercase().as_str(), arguments.as_slice()) {
            ("PASS", _) => match rest {
                Some(password) => Ok(Self::Pass(Secret::new(password))),
                None => Err(CommandError::Arguments),
            },
            ("USER", [_, ..]) => Ok(Self::User(rest.unwrap_or_default().trim().to_owned())),
            ("AUTH", []) => Ok(Self::AuthList),
            ("AUTH", [mechanism]) => Ok(Self::auth(mechanism, None)),
            ("AUTH", [mechanism, "="]) => Ok(Self::auth(mechanism, Some(""))),
            ("AUTH", [mechanism, initial]) => Ok(Self::auth(mechanism, Some(initial))),
            ("CAPA", []) => Ok(Self::Capa),
            ("STLS", []) => Ok(Self::Stls),
            ("STAT", []) => Ok(Self::Stat),
            ("LIST", []) => Ok(Self::List(None)),
            ("LIST", [msg]) => Ok(Self::List(Some(number(msg)?))),
            ("UIDL", []) => Ok(Self::Uidl(None)),
            ("UIDL", [msg]) => Ok(Self::Uidl(Some(number(msg)?))),
            ("RETR", [msg]) => Ok(Self::Retr(number(msg)?)),
            ("TOP", [msg, lines]) => Ok(Self::Top(number(msg)?, digits(lines)?)),
            ("DELE", [msg]) => Ok(Self::Dele(number(msg)?)),
            ("NOOP", []) => Ok(Self::Noop),
            ("RSET", []) => Ok(Self::Rset),
            ("QUIT", []) => Ok(Self::Quit),
            (
                "USER" | "AUTH" | "CAPA" | "STLS" | "STAT" | "LIST" | "UIDL" | "RETR" | "TOP"
                | "DELE" | "NOOP" | "RSET" | "QUIT",
                _,
            ) => Err(CommandError::Arguments),
            _ => Err(CommandError::Unknown),
        }
    }

    fn auth(mechanism: &str, initial: Option<&str>) -> Self {
        Self::Auth {
            mechanism: mechanism.to_ascii_uppercase(),
            initial: initial.map(|text| text.as_bytes().to_vec()),
        }
    }
}

/// A number of digits only; one that is too large names nothing.
fn digits(text: &str) -> Result<u32, CommandError> {
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok(text.parse().unwrap_or(u32::MAX)),
        false => Err(CommandError::Arguments),
    }
}

fn number(text: &str) -> Result<MessageNumber, CommandError> {
    MessageNumber::new(digits(text)?).ok_or(CommandError::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn msg(number: u32) -> MessageNumber {
        MessageNumber::new(number).expect("not 0")
    }

    #[test]
    fn lines_are_commands() {
        let auth = |mechanism: &str, initial: Option<&[u8]>| Command::Auth {
            mechanism: mechanism.into(),
            initial: initial.map(<[u8]>::to_vec),
        };
        for (line, command) in [
            (
                "USER alice@example.org ",
                Ok(Command::User("alice@example.org".into())),
            ),
            (
                "pass  two words ",
                Ok(Command::Pass(Secret::new(" two words "))),
            ),
            ("PASS ", Ok(Command::Pass(Secret::new("")))),
            ("PASS", Err(CommandError::Arguments)),
            ("AUTH", Ok(Command::AuthList)),
            ("AUTH plain", Ok(auth("PLAIN", None))),
            ("AUTH PLAIN =", Ok(auth("PLAIN", Some(b"")))),
            ("AUTH PLAIN AGEAYg==", Ok(auth("PLAIN", Some(b"AGEAYg==")))),
            ("list", Ok(Command::List(None))),
            ("LIST 2", Ok(Command::List(Some(msg(2))))),
            ("LIST 0", Err(CommandError::Number)),
            ("UIDL 99999999999", Ok(Command::Uidl(Some(msg(u32::MAX))))),
            ("TOP 1 10", Ok(Command::Top(msg(1), 10))),
            ("TOP 1", Err(CommandError::Arguments)),
            ("RETR -1", Err(CommandError::Arguments)),
            ("DELE 1 2", Err(CommandError::Arguments)),
            ("Quit", Ok(Command::Quit)),
            ("QUIT now", Err(CommandError::Arguments)),
            ("", Err(CommandError::Unknown)),
            ("GET / HTTP/1.1", Err(CommandError::Unknown)),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), command, "{line}");
        }
        assert_eq!(Command::parse(b"USER \xff"), Err(CommandError::Arguments));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Command::parse(&line);
        }
    }
}

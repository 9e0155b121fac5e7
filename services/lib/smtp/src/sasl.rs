//! The SASL mechanisms of `AUTH` (RFC 4954): PLAIN (RFC 4616) and LOGIN.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postino_types::Secret;
use postino_types::sasl::Plain;

/// Longest line of an exchange, in octets (RFC 4954 section 4).
pub const MAX_LINE: usize = 12_288;

/// A mechanism that Postino speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616: everything in one message.
    Plain,
    /// The old, undocumented exchange in two questions; some clients know no other.
    Login,
}

impl Mechanism {
    /// The mechanism of this name, in any case.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            n if n.eq_ignore_ascii_case("PLAIN") => Some(Self::Plain),
            n if n.eq_ignore_ascii_case("LOGIN") => Some(Self::Login),
            _ => None,
        }
    }

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// Why an exchange ended without credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The client sent `*`.
    #[error("the client gave up")]
    Cancelled,
    /// A response is not base64.
    #[error("not base64")]
    Base64,
    /// A response is not what the mechanism asks for.
    #[error("not a message of the mechanism")]
    Malformed,
}

/// How an exchange goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this, in base64, after `334`.
    Challenge(&'static str),
    /// Name and password are complete; they are not checked yet.
    Done(Plain),
    /// The exchange failed.
    Failed(SaslError),
}

/// The server's side of one exchange.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    Plain,
    LoginUsername,
    LoginPassword { username: String },
}

/// `Username:` in base64.
const USERNAME: &str = "VXNlcm5hbWU6";
/// `Password:` in base64.
const PASSWORD: &str = "UGFzc3dvcmQ6";

impl Exchange {
    /// Begins with the client's initial response, in base64, if it sent one. An empty response is
    /// written `=` (RFC 4954 section 4).
    pub fn start(mechanism: Mechanism, initial: Option<&str>) -> (Self, Step) {
        let mut exchange = Self(match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginUsername,
        });
        let step = match initial {
            Some("=") => exchange.take(b""),
            Some(response) => exchange.respond(response.as_bytes()),
            None => Step::Challenge(match mechanism {
                Mechanism::Plain => "",
                Mechanism::Login => USERNAME,
            }),
        };
        (exchange, step)
    }

    /// Takes the client's next line.
    pub fn respond(&mut self, line: &[u8]) -> Step {
        if line == b"*" {
            return Step::Failed(SaslError::Cancelled);
        }
        let Ok(decoded) = STANDARD.decode(line) else {
            return Step::Failed(SaslError::Base64);
        };
        self.take(&decoded)
    }

    fn take(&mut self, message: &[u8]) -> Step {
        let malformed = Step::Failed(SaslError::Malformed);
        match std::mem::replace(&mut self.0, State::Plain) {
            State::Plain => Plain::decode(message).map_or(malformed, Step::Done),
            State::LoginUsername => name(message).map_or(malformed, |username| {
                let username = username.to_owned();
                self.0 = State::LoginPassword { username };
                Step::Challenge(PASSWORD)
            }),
            State::LoginPassword { username } => name(message).map_or(malformed, |password| {
                Step::Done(Plain::new(username, Secret::new(password)))
            }),
        }
    }
}

/// A name or a password of LOGIN: neither empty nor with a NUL.
fn name(message: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(message).ok()?;
    (!text.is_empty() && !text.contains('\0')).then_some(text)
}

/// The client's only message of PLAIN, in base64.
pub fn plain_response(plain: &Plain) -> Secret {
    Secret::new(STANDARD.encode(plain.encode().expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Plain {
        Plain::new("test", Secret::new("1234"))
    }

    #[test]
    fn plain_goes_both_ways() {
        // The example of RFC 4954 section 4.1 has the same shape: AHRlc3QAMTIzNA==.
        assert_eq!(plain_response(&credentials()).expose(), "AHRlc3QAMTIzNA==");
        let (_, step) = Exchange::start(Mechanism::Plain, Some("AHRlc3QAMTIzNA=="));
        assert_eq!(step, Step::Done(credentials()));
        let (mut exchange, step) = Exchange::start(Mechanism::Plain, None);
        assert_eq!(step, Step::Challenge(""));
        assert_eq!(
            exchange.respond(b"AHRlc3QAMTIzNA=="),
            Step::Done(credentials())
        );
    }

    #[test]
    fn login_asks_twice() {
        let (mut exchange, step) = Exchange::start(Mechanism::Login, None);
        assert_eq!(step, Step::Challenge(USERNAME));
        assert_eq!(exchange.respond(b"dGVzdA=="), Step::Challenge(PASSWORD));
        assert_eq!(exchange.respond(b"MTIzNA=="), Step::Done(credentials()));
        // Outlook and others send the name at once.
        let (mut exchange, step) = Exchange::start(Mechanism::Login, Some("dGVzdA=="));
        assert_eq!(step, Step::Challenge(PASSWORD));
        assert_eq!(exchange.respond(b"MTIzNA=="), Step::Done(credentials()));
    }

    #[test]
    fn what_is_no_response_fails() {
        let (mut exchange, _) = Exchange::start(Mechanism::Plain, None);
        assert_eq!(exchange.respond(b"*"), Step::Failed(SaslError::Cancelled));
        assert_eq!(exchange.respond(b"***"), Step::Failed(SaslError::Base64));
        for bad in ["=", "dGVzdA==", "AAA=", "AGEAYgBj", "/w=="] {
            let (_, step) = Exchange::start(Mechanism::Plain, Some(bad));
            assert_eq!(step, Step::Failed(SaslError::Malformed), "{bad}");
        }
    }
}

//! The SASL mechanisms of `AUTH` (RFC 4954): PLAIN (RFC 4616) and LOGIN.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postino_types::Secret;

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

/// What a client proves its identity with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Whom to act as, if not the user itself (RFC 4616 `authzid`).
    pub authorization: Option<String>,
    /// The user's name (`authcid`).
    pub username: String,
    /// The user's password.
    pub password: Secret,
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
    /// The credentials are complete; they are not checked yet.
    Done(Credentials),
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
            Some("=") => exchange.take(""),
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
        match String::from_utf8(decoded) {
            Ok(message) => self.take(&message),
            Err(_) => Step::Failed(SaslError::Malformed),
        }
    }

    fn take(&mut self, message: &str) -> Step {
        match std::mem::replace(&mut self.0, State::Plain) {
            State::Plain => match plain(message) {
                Some(credentials) => Step::Done(credentials),
                None => Step::Failed(SaslError::Malformed),
            },
            State::LoginUsername if is_name(message) => {
                self.0 = State::LoginPassword {
                    username: message.to_owned(),
                };
                Step::Challenge(PASSWORD)
            }
            State::LoginPassword { username } if is_name(message) => Step::Done(Credentials {
                authorization: None,
                username,
                password: Secret::new(message),
            }),
            State::LoginUsername | State::LoginPassword { .. } => {
                Step::Failed(SaslError::Malformed)
            }
        }
    }
}

/// Neither empty nor with a NUL.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

/// `[authzid] NUL authcid NUL passwd` (RFC 4616 section 2).
fn plain(message: &str) -> Option<Credentials> {
    let mut parts = message.split('\0');
    let (authorization, username, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || username.is_empty() || password.is_empty() {
        return None;
    }
    Some(Credentials {
        authorization: (!authorization.is_empty()).then(|| authorization.to_owned()),
        username: username.to_owned(),
        password: Secret::new(password),
    })
}

/// The client's only message of PLAIN, in base64.
pub fn plain_response(credentials: &Credentials) -> Secret {
    let authorization = credentials.authorization.as_deref().unwrap_or_default();
    Secret::new(STANDARD.encode(format!(
        "{authorization}\0{}\0{}",
        credentials.username,
        credentials.password.expose()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            authorization: None,
            username: "test".into(),
            password: Secret::new("1234"),
        }
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

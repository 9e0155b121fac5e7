//! The AUTHORIZATION state (RFC 1939 section 4, RFC 2595 section 4, RFC 5034).

use postino_types::sasl::Plain;

use super::output::Code;
use super::{AuthenticateError, MaildropError, Server, State, Step, Tls, begin};
use crate::command::Command;
use crate::maildrop::Maildrop;
use crate::sasl;

/// Where in the AUTHORIZATION state a session is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Authorization {
    /// A command is awaited; USER may have named a user.
    Idle { user: Option<String> },
    /// AUTH PLAIN awaits its response.
    Exchange,
    /// TLS is being started.
    StartingTls,
    /// Credentials are being checked.
    Authenticating,
    /// They were right; the maildrop is to be opened.
    Authenticated,
    /// The maildrop is being opened.
    Opening,
}

impl Authorization {
    pub(super) fn takes_lines(&self) -> bool {
        matches!(self, Self::Idle { .. } | Self::Exchange)
    }
}

impl Server {
    /// Carries out a command in this state.
    pub(super) fn authorization(&mut self, command: Command) -> Option<Step> {
        let user = match &mut self.state {
            State::Authorization(Authorization::Idle { user }) => user.take(),
            _ => None,
        };
        match command {
            Command::User(_) | Command::Pass(_) | Command::Auth { .. }
                if !self.password_allowed() =>
            {
                self.refuse_plaintext()
            }
            Command::User(user) => {
                self.output.ok("send the password");
                self.state = State::Authorization(Authorization::Idle { user: Some(user) });
                None
            }
            Command::Pass(password) => match user {
                Some(user) => self.check(Plain::new(user, password)),
                None => self.bad_command("USER comes before PASS"),
            },
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial),
            Command::AuthList => {
                self.output.ok("mechanisms follow");
                let mechanisms = if self.password_allowed() {
                    &["PLAIN"][..]
                } else {
                    &[]
                };
                self.output.lines(mechanisms.iter().copied());
                None
            }
            Command::Capa => {
                self.capabilities();
                None
            }
            Command::Stls => self.stls(),
            Command::Quit => {
                self.output.ok("goodbye");
                self.state = State::Closing;
                None
            }
            Command::Stat
            | Command::List(_)
            | Command::Uidl(_)
            | Command::Retr(_)
            | Command::Top(..)
            | Command::Dele(_)
            | Command::Noop
            | Command::Rset => self.bad_command("log in first"),
        }
    }

    fn refuse_plaintext(&mut self) -> Option<Step> {
        let text = match self.settings.tls {
            Tls::Available => "passwords are not accepted without TLS: use STLS first",
            Tls::Unavailable | Tls::Active => "passwords are not accepted without TLS",
        };
        self.bad_command(text)
    }

    fn bad_command(&mut self, text: &str) -> Option<Step> {
        self.error(text);
        None
    }

    fn auth(&mut self, mechanism: &str, initial: Option<Vec<u8>>) -> Option<Step> {
        match (mechanism, initial) {
            ("PLAIN", Some(response)) => self.plain(&response),
            ("PLAIN", None) => {
                self.output.challenge();
                self.state = State::Authorization(Authorization::Exchange);
                None
            }
            _ => self.bad_command("this mechanism is not offered"),
        }
    }

    /// Takes the line after the challenge of AUTH PLAIN.
    pub(super) fn response(&mut self, line: &[u8]) -> Option<Step> {
        self.state = State::Authorization(Authorization::Idle { user: None });
        match line {
            // RFC 5034 section 4: a lone * cancels.
            b"*" => self.bad_command("authentication cancelled"),
            response => self.plain(response),
        }
    }

    fn plain(&mut self, response: &[u8]) -> Option<Step> {
        match sasl::plain(response) {
            Ok(plain) => self.check(plain),
            Err(error) => self.bad_command(&error.to_string()),
        }
    }

    fn check(&mut self, plain: Plain) -> Option<Step> {
        self.state = State::Authorization(Authorization::Authenticating);
        Some(Step::Authenticate(plain))
    }

    fn stls(&mut self) -> Option<Step> {
        match self.settings.tls {
            Tls::Available => {
                self.output.ok("begin TLS");
                // RFC 2595 section 4: what was sent ahead in plain text must not count.
                self.lines.clear();
                self.state = State::Authorization(Authorization::StartingTls);
                Some(Step::StartTls)
            }
            Tls::Active => self.bad_command("TLS is active already"),
            Tls::Unavailable => self.bad_command("TLS is not available"),
        }
    }

    /// TLS has been started: the answer to [`Step::StartTls`].
    pub fn tls_started(&mut self) {
        if matches!(self.state, State::Authorization(Authorization::StartingTls)) {
            self.settings.tls = Tls::Active;
            self.lines.clear();
            self.state = State::Authorization(Authorization::Idle { user: None });
        }
    }

    /// The answer to [`Step::Authenticate`]; the next step opens the maildrop.
    pub fn authenticated(&mut self, result: Result<(), AuthenticateError>) {
        if !matches!(
            self.state,
            State::Authorization(Authorization::Authenticating)
        ) {
            return;
        }
        self.state = State::Authorization(Authorization::Idle { user: None });
        match result {
            Ok(()) => self.state = State::Authorization(Authorization::Authenticated),
            Err(error @ AuthenticateError::Rejected) => {
                self.output.error(Some(Code::Auth), &error.to_string());
                self.failures += 1;
            }
            Err(error @ AuthenticateError::Unavailable) => {
                self.output.error(Some(Code::SysTemp), &error.to_string());
            }
        }
        if self.failures >= self.settings.max_failures {
            self.state = State::Closing;
        }
    }

    /// The answer to [`Step::OpenMaildrop`].
    pub fn opened(&mut self, result: Result<Maildrop, MaildropError>) {
        if !matches!(self.state, State::Authorization(Authorization::Opening)) {
            return;
        }
        let code = match result {
            Ok(maildrop) => {
                self.state = begin(&mut self.output, maildrop);
                return;
            }
            Err(MaildropError::InUse) => Code::InUse,
            Err(MaildropError::Unavailable) => Code::SysTemp,
        };
        if let Err(error) = result {
            self.output.error(Some(code), &error.to_string());
        }
        self.state = State::Authorization(Authorization::Idle { user: None });
    }
}

//! Section `[access.imap]`.

use postino_config::{ByteSize, Duration, SettingError};
use postino_imap::Limits;
use serde::{Deserialize, Serialize};

/// Section `[access.imap]`: limits and times of IMAP sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImapConfig {
    /// How long a session may say nothing (RFC 3501 section 5.4 asks for 30 minutes at least).
    pub idle_timeout: Duration,
    /// How long a session may say nothing before it has logged in.
    pub login_timeout: Duration,
    /// How long a client may take to read what it asked for.
    pub write_timeout: Duration,
    /// How often a session in IDLE gets a sign of life, so that no NAT forgets it.
    pub idle_keepalive: Duration,
    /// Octets of a command line.
    pub max_line: ByteSize,
    /// Octets of a command's literals.
    pub max_literals: ByteSize,
    /// The same two before login, where a stranger may send them.
    pub max_line_before_login: ByteSize,
    /// Octets of an appended message.
    pub max_append: ByteSize,
    /// Depth of nested search keys and lists.
    pub max_depth: usize,
    /// Elements of one command.
    pub max_arguments: usize,
    /// Commands in a row that cannot be understood, until the session is closed.
    pub max_bad_commands: u32,
    /// Failed log-ins, until the session is closed.
    pub max_login_failures: u32,
    /// How long a failed log-in waits for its answer.
    pub login_failure_delay: Duration,
    /// Octets of a header that are looked into for HEADER.FIELDS and SEARCH.
    pub max_header: ByteSize,
    /// Messages that one call to the store asks for.
    pub batch: usize,
}

impl Default for ImapConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::mins(30),
            login_timeout: Duration::mins(1),
            write_timeout: Duration::mins(5),
            idle_keepalive: Duration::mins(2),
            max_line: ByteSize::kib(64),
            max_literals: ByteSize::kib(64),
            max_line_before_login: ByteSize::kib(8),
            max_append: ByteSize::mib(64),
            max_depth: 32,
            max_arguments: 4096,
            max_bad_commands: 20,
            max_login_failures: 3,
            login_failure_delay: Duration::secs(2),
            max_header: ByteSize::mib(1),
            batch: 200,
        }
    }
}

impl ImapConfig {
    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        let zero = Duration::default();
        let rules = [
            (self.idle_timeout > zero, "idle_timeout must not be 0"),
            (self.login_timeout > zero, "login_timeout must not be 0"),
            (self.write_timeout > zero, "write_timeout must not be 0"),
            (self.idle_keepalive > zero, "idle_keepalive must not be 0"),
            // RFC 7162 section 4 asks for 8192.
            (
                self.max_line.get() >= 8192,
                "max_line must be 8192 octets at least",
            ),
            (
                self.max_literals.get() >= 1024,
                "max_literals must be 1024 octets at least",
            ),
            (
                self.max_line_before_login.get() >= 1024,
                "max_line_before_login must be 1024 octets at least",
            ),
            (self.max_append.get() > 0, "max_append must not be 0"),
            (self.max_depth > 0, "max_depth must not be 0"),
            (self.max_arguments > 0, "max_arguments must not be 0"),
            (self.max_bad_commands > 0, "max_bad_commands must not be 0"),
            (
                self.max_login_failures > 0,
                "max_login_failures must not be 0",
            ),
            (self.max_header.get() > 0, "max_header must not be 0"),
            (self.batch > 0, "batch must not be 0"),
        ];
        postino_config::check("access.imap", &rules)
    }

    /// The parser's limits for a client that has not logged in.
    pub(super) fn limits_before_login(&self) -> Limits {
        let line = self.max_line_before_login.as_usize();
        Limits {
            line,
            literals: line,
            ..self.limits()
        }
    }

    /// The parser's limits for a user.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            line: self.max_line.as_usize(),
            literals: self.max_literals.as_usize(),
            message: self.max_append.get(),
            depth: self.max_depth,
            arguments: self.max_arguments,
        }
    }
}

//! Section `[access.pop3]`.

use postino_config::{ByteSize, Duration, SettingError};
use serde::{Deserialize, Serialize};

/// Section `[access.pop3]`: limits and times of POP3 sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pop3Config {
    /// How long a session may say nothing (RFC 1939 section 3 asks for 10 minutes at least).
    pub idle_timeout: Duration,
    /// How long a session may say nothing before it has logged in.
    pub login_timeout: Duration,
    /// How long a client may take to read what it asked for.
    pub write_timeout: Duration,
    /// Octets of a command line.
    pub max_line: ByteSize,
    /// Octets of a SASL response line (RFC 4954 section 4 names 12288).
    pub max_response: ByteSize,
    /// Commands that cannot be carried out as they are, until the session is closed.
    pub max_bad_commands: u32,
    /// Failed log-ins, until the session is closed.
    pub max_login_failures: u32,
    /// How long a failed log-in waits for its answer.
    pub login_failure_delay: Duration,
    /// How often the store is asked again for the rest of a message that broke off, or for a
    /// deletion whose outcome is not known.
    pub store_retries: u32,
}

impl Default for Pop3Config {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::mins(10),
            login_timeout: Duration::mins(1),
            write_timeout: Duration::mins(5),
            max_line: ByteSize::bytes(512),
            max_response: ByteSize::kib(12),
            max_bad_commands: 20,
            max_login_failures: 3,
            login_failure_delay: Duration::secs(2),
            store_retries: 5,
        }
    }
}

impl Pop3Config {
    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        let zero = Duration::default();
        let rules = [
            (self.idle_timeout > zero, "idle_timeout must not be 0"),
            (self.login_timeout > zero, "login_timeout must not be 0"),
            (self.write_timeout > zero, "write_timeout must not be 0"),
            // RFC 2449 section 4, the CRLF included.
            (
                self.max_line.get() >= 255,
                "max_line must be 255 octets at least",
            ),
            (
                self.max_response >= self.max_line,
                "max_response must be max_line at least",
            ),
            (self.max_bad_commands > 0, "max_bad_commands must not be 0"),
            (
                self.max_login_failures > 0,
                "max_login_failures must not be 0",
            ),
        ];
        postino_config::check("access.pop3", &rules)
    }
}

//! Section `[ingress]`.

use postino_config::{ByteSize, Duration, SettingError};
use postino_smtp::DataLimits;
use postino_smtp::server::Limits;
use serde::{Deserialize, Serialize};

/// Section `[ingress]`: SMTP in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngressConfig {
    /// Largest letter; announced with SIZE (RFC 1870).
    pub max_size: ByteSize,
    /// Octets of a letter that is refused already which are read to find its end.
    pub max_discard: ByteSize,
    /// Longest line of a letter.
    pub max_letter_line: ByteSize,
    /// Most `Received:` fields of a letter; more are a loop (RFC 5321 section 6.3).
    pub max_received: u32,
    /// Most recipients of one letter (RFC 5321 section 4.5.3.1.8: at least 100).
    pub max_recipients: usize,
    /// Most recipients of one letter after aliases are expanded.
    pub max_targets: usize,
    /// Recipients of one session that routing is asked for at once.
    pub concurrent_recipients: usize,
    /// Longest command line.
    pub max_command_line: ByteSize,
    /// Failed commands, refused recipients among them, after which a session is ended.
    pub max_errors: u32,
    /// Commands since the last letter that brought none nearer, after which a session is ended.
    pub max_idle_commands: u32,
    /// Failed log-ins after which a session is ended.
    pub max_failed_logins: u32,
    /// How long the server waits for a command, or for more of a letter (RFC 5321 section
    /// 4.5.3.2.7: at least 5 minutes).
    pub idle_timeout: Duration,
    /// How long a letter may take to come in.
    pub letter_timeout: Duration,
    /// How long a client may take to read a reply.
    pub write_timeout: Duration,
    /// How long handing a letter over is tried before the client is told to come back.
    pub hand_over_timeout: Duration,
    /// Octets of a letter that are sent to the store at once.
    pub chunk: ByteSize,
    /// Whether the `From:` of a submitted letter must be the user's, too: "any" or "owned". The
    /// envelope's sender always must.
    pub from_check: FromCheck,
}

/// Which addresses a submitted letter may have in its `From:` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromCheck {
    /// Any.
    #[default]
    Any,
    /// Only those of the user who has logged in.
    Owned,
}

impl Default for IngressConfig {
    fn default() -> Self {
        Self {
            max_size: ByteSize::mib(50),
            max_discard: ByteSize::mib(16),
            max_letter_line: ByteSize::kib(64),
            max_received: 50,
            max_recipients: 1000,
            max_targets: 10_000,
            concurrent_recipients: 32,
            max_command_line: ByteSize::kib(2),
            max_errors: 50,
            max_idle_commands: 100,
            max_failed_logins: 3,
            idle_timeout: Duration::mins(5),
            letter_timeout: Duration::hours(1),
            write_timeout: Duration::mins(1),
            hand_over_timeout: Duration::secs(60),
            chunk: ByteSize::kib(64),
            from_check: FromCheck::Any,
        }
    }
}

impl IngressConfig {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        let zero = Duration::default();
        let rules = [
            // RFC 5321 section 4.5.3.1.7.
            (
                self.max_size >= ByteSize::kib(64),
                "max_size must be 64 KiB at least",
            ),
            // Section 4.5.3.1.6, the CRLF included.
            (
                self.max_letter_line.get() >= 1000,
                "max_letter_line must be 1000 octets at least",
            ),
            // Section 4.5.3.1.4, the CRLF included.
            (
                self.max_command_line.get() >= 512,
                "max_command_line must be 512 octets at least",
            ),
            (self.max_received > 0, "max_received must not be 0"),
            // Section 4.5.3.1.8.
            (
                self.max_recipients >= 100,
                "max_recipients must be 100 at least",
            ),
            (
                self.max_targets >= self.max_recipients,
                "max_targets must be max_recipients at least",
            ),
            (
                self.concurrent_recipients > 0,
                "concurrent_recipients must not be 0",
            ),
            (self.max_errors > 0, "max_errors must not be 0"),
            (
                self.max_idle_commands > 0,
                "max_idle_commands must not be 0",
            ),
            (
                self.max_failed_logins > 0,
                "max_failed_logins must not be 0",
            ),
            (self.idle_timeout > zero, "idle_timeout must not be 0"),
            (self.letter_timeout > zero, "letter_timeout must not be 0"),
            (self.write_timeout > zero, "write_timeout must not be 0"),
            (
                self.hand_over_timeout > zero,
                "hand_over_timeout must not be 0",
            ),
            (self.chunk.get() > 0, "chunk must not be 0"),
        ];
        postino_config::check("ingress", &rules)
    }

    /// The limits of the machine.
    pub(crate) fn limits(&self) -> Limits {
        let octets = |size: ByteSize| usize::try_from(size.get()).unwrap_or(usize::MAX);
        Limits {
            data: DataLimits {
                size: self.max_size.get(),
                line: octets(self.max_letter_line),
                received_fields: self.max_received,
            },
            discard: self.max_discard.get(),
            recipients: self.max_recipients,
            concurrent_recipients: self.concurrent_recipients,
            line: octets(self.max_command_line),
            errors: self.max_errors,
            idle_commands: self.max_idle_commands,
            failed_logins: self.max_failed_logins,
        }
    }
}

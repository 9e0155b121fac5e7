//! What a session offers, and its limits.

use crate::DataLimits;

/// What the port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Other servers deliver letters here (port 25).
    Exchange,
    /// Users submit letters here, and must log in (RFC 6409 section 4.3).
    Submission,
}

/// Whether STARTTLS is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsOffer {
    /// There is no certificate.
    Unavailable,
    /// It is.
    Offered,
}

/// Whether AUTH is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthOffer {
    /// Nobody logs in here.
    Unavailable,
    /// With PLAIN and LOGIN, where the channel allows it.
    Offered,
}

/// Whether a password may be sent without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaintextAuth {
    /// No: AUTH is not offered before TLS, and refused with 538.
    Refused,
    /// Yes, on this connection.
    Allowed,
}

/// Bounds of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bounds of a letter.
    pub data: DataLimits,
    /// Octets of a letter that is already refused which are read to find its end, beyond the
    /// size limit; then the connection is closed.
    pub discard: u64,
    /// Recipients of one letter. RFC 5321 section 4.5.3.1.8 wants at least 100.
    pub recipients: usize,
    /// Recipients that may be asked for at the same time.
    pub concurrent_recipients: usize,
    /// Octets of a command line without its CRLF. RFC 5321 section 4.5.3.1.4 wants 512 and what
    /// extensions add.
    pub line: usize,
    /// Commands that failed, refused recipients among them, until the connection is closed.
    /// A letter that is taken sets the count back.
    pub errors: u32,
    /// Commands since the last letter that brought none nearer (NOOP, RSET, VRFY …).
    pub idle_commands: u32,
    /// Failed logins.
    pub failed_logins: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            data: DataLimits::default(),
            discard: 16 * 1024 * 1024,
            recipients: 1000,
            concurrent_recipients: 32,
            line: 2048,
            errors: 50,
            idle_commands: 100,
            failed_logins: 3,
        }
    }
}

/// How a session behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name the server gives itself.
    pub hostname: String,
    /// What the port is for.
    pub role: Role,
    /// STARTTLS.
    pub tls: TlsOffer,
    /// AUTH.
    pub auth: AuthOffer,
    /// Passwords without TLS.
    pub plaintext_auth: PlaintextAuth,
    /// Bounds.
    pub limits: Limits,
}

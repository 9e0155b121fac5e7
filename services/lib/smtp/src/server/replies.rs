//! Every reply the machine makes by itself.

use postino_types::{EnhancedStatus, QueueId, Reply};

use crate::{CommandError, DataFault, LineError};

const fn ok(subject: u16, detail: u16) -> EnhancedStatus {
    EnhancedStatus::success(subject, detail)
}

const fn temporary(subject: u16, detail: u16) -> EnhancedStatus {
    EnhancedStatus::temporary(subject, detail)
}

const fn permanent(subject: u16, detail: u16) -> EnhancedStatus {
    EnhancedStatus::permanent(subject, detail)
}

pub(super) fn greeting(hostname: &str) -> Reply {
    Reply::plain(220, format!("{hostname} ESMTP Postino"))
}

pub(super) fn done() -> Reply {
    Reply::new(250, ok(0, 0), "Ok")
}

pub(super) fn help() -> Reply {
    Reply::new(
        214,
        ok(0, 0),
        "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY STARTTLS AUTH QUIT",
    )
}

/// RFC 5321 section 3.5.3: a server that does not tell says 252.
pub(super) fn not_verified() -> Reply {
    Reply::new(252, ok(5, 0), "Cannot verify; send mail and see")
}

pub(super) fn sender_ok() -> Reply {
    Reply::new(250, ok(1, 0), "Sender ok")
}

pub(super) fn recipient_ok() -> Reply {
    Reply::new(250, ok(1, 5), "Recipient ok")
}

pub(super) fn send_data() -> Reply {
    Reply::plain(354, "End data with <CR><LF>.<CR><LF>")
}

pub(super) fn queued(id: QueueId) -> Reply {
    Reply::new(250, ok(0, 0), format!("queued as {id}"))
}

pub(super) fn goodbye() -> Reply {
    Reply::new(221, ok(0, 0), "Bye")
}

pub(super) fn start_tls() -> Reply {
    Reply::new(220, ok(0, 0), "Ready to start TLS")
}

pub(super) fn timeout(hostname: &str) -> Reply {
    Reply::new(
        421,
        temporary(4, 2),
        format!("{hostname} Timeout, closing connection"),
    )
}

pub(super) fn shutdown(hostname: &str) -> Reply {
    Reply::new(
        421,
        temporary(3, 2),
        format!("{hostname} Service shutting down"),
    )
}

pub(super) fn too_many_errors(hostname: &str) -> Reply {
    Reply::new(421, temporary(7, 0), format!("{hostname} Too many errors"))
}

pub(super) fn too_many_idle_commands(hostname: &str) -> Reply {
    Reply::new(
        421,
        temporary(7, 0),
        format!("{hostname} Too many commands without a letter"),
    )
}

pub(super) fn too_much_discarded(hostname: &str) -> Reply {
    Reply::new(
        421,
        temporary(3, 4),
        format!("{hostname} The letter is refused and has no end"),
    )
}

pub(super) fn not_smtp(hostname: &str) -> Reply {
    Reply::new(
        421,
        temporary(7, 0),
        format!("{hostname} This is not a web server"),
    )
}

pub(super) fn bad_line(error: LineError) -> Reply {
    match error {
        LineError::BareCarriageReturn => Reply::new(
            550,
            permanent(5, 2),
            "A line has CR without LF (RFC 5321 section 2.3.8)",
        ),
        LineError::BareLineFeed => Reply::new(
            550,
            permanent(5, 2),
            "A line has LF without CR (RFC 5321 section 2.3.8)",
        ),
        LineError::TooLong => Reply::new(500, permanent(5, 2), "Line too long"),
    }
}

pub(super) fn bad_command(error: CommandError) -> Reply {
    match error {
        CommandError::Unknown => Reply::new(500, permanent(5, 1), "Command not recognized"),
        CommandError::Octets => Reply::new(
            500,
            permanent(5, 2),
            "A command has octets that it must not have",
        ),
        CommandError::Argument => Reply::new(
            501,
            permanent(5, 4),
            "Syntax error in the command's argument",
        ),
        CommandError::ReversePath => {
            Reply::new(501, permanent(1, 7), "The sender address is not valid")
        }
        CommandError::ForwardPath => {
            Reply::new(501, permanent(1, 3), "The recipient address is not valid")
        }
        CommandError::ParameterValue => Reply::new(
            501,
            permanent(5, 4),
            "The value of a parameter is not valid",
        ),
        CommandError::ParameterUnknown => unknown_parameter(),
    }
}

/// RFC 5321 section 4.1.1.11.
pub(super) fn unknown_parameter() -> Reply {
    Reply::new(
        555,
        permanent(5, 4),
        "A parameter is not known or not offered",
    )
}

/// RFC 6531 section 3.5.
pub(super) fn needs_smtputf8() -> Reply {
    Reply::new(
        553,
        permanent(6, 7),
        "Addresses outside ASCII are not accepted",
    )
}

pub(super) fn not_offered() -> Reply {
    Reply::new(502, permanent(5, 1), "Command not implemented")
}

pub(super) fn say_hello_first() -> Reply {
    Reply::new(503, permanent(5, 1), "Send EHLO or HELO first")
}

pub(super) fn nested_mail() -> Reply {
    Reply::new(
        503,
        permanent(5, 1),
        "A transaction is under way; RSET ends it",
    )
}

pub(super) fn need_mail() -> Reply {
    Reply::new(503, permanent(5, 1), "Send MAIL first")
}

pub(super) fn need_rcpt() -> Reply {
    Reply::new(503, permanent(5, 1), "Send RCPT first")
}

/// RFC 2920 section 3.1: what DATA is told when all its recipients were refused.
pub(super) fn no_valid_recipients() -> Reply {
    Reply::new(554, permanent(5, 1), "No valid recipients")
}

/// RFC 5321 section 4.5.3.1.10.
pub(super) fn too_many_recipients() -> Reply {
    Reply::new(452, temporary(5, 3), "Too many recipients")
}

/// RFC 1870 section 6.1.
pub(super) fn too_large(limit: u64) -> Reply {
    Reply::new(
        552,
        permanent(3, 4),
        format!("The letter is larger than {limit} octets"),
    )
}

/// RFC 3207 section 4.
pub(super) fn need_tls() -> Reply {
    Reply::new(530, permanent(7, 0), "Must issue a STARTTLS command first")
}

/// RFC 4954 section 6.
pub(super) fn need_auth() -> Reply {
    Reply::new(530, permanent(7, 0), "Authentication required")
}

pub(super) fn tls_active() -> Reply {
    Reply::new(503, permanent(5, 1), "TLS is already active")
}

pub(super) fn already_authenticated() -> Reply {
    Reply::new(503, permanent(5, 1), "Already authenticated")
}

/// RFC 4954 section 6.
pub(super) fn auth_needs_tls() -> Reply {
    Reply::new(
        538,
        permanent(7, 11),
        "Encryption required for requested authentication mechanism",
    )
}

/// RFC 4954 section 4.
pub(super) fn unknown_mechanism() -> Reply {
    Reply::new(504, permanent(5, 4), "Mechanism not supported")
}

pub(super) fn auth_cancelled() -> Reply {
    Reply::new(501, permanent(7, 0), "Authentication cancelled")
}

pub(super) fn auth_malformed() -> Reply {
    Reply::new(501, permanent(5, 2), "The response is not valid")
}

/// RFC 4954 section 4.
pub(super) fn auth_too_long() -> Reply {
    Reply::new(500, permanent(5, 6), "The response is too long")
}

pub(super) fn auth_succeeded() -> Reply {
    Reply::new(235, ok(7, 0), "Authentication succeeded")
}

pub(super) fn auth_failed() -> Reply {
    Reply::new(535, permanent(7, 8), "Authentication credentials invalid")
}

pub(super) fn auth_unavailable() -> Reply {
    Reply::new(454, temporary(7, 0), "Temporary authentication failure")
}

pub(super) fn too_many_logins(hostname: &str) -> Reply {
    Reply::new(
        421,
        temporary(7, 0),
        format!("{hostname} Too many failed logins"),
    )
}

pub(super) fn bad_letter(fault: DataFault) -> Reply {
    match fault {
        DataFault::BareCarriageReturn => Reply::new(
            550,
            permanent(5, 2),
            "The letter has CR without LF (RFC 5321 section 2.3.8)",
        ),
        DataFault::BareLineFeed => Reply::new(
            550,
            permanent(5, 2),
            "The letter has LF without CR (RFC 5321 section 2.3.8)",
        ),
        DataFault::TooLarge { limit } => too_large(limit),
        DataFault::LineTooLong { limit } => {
            let text = format!("The letter has a line of more than {limit} octets");
            Reply::new(554, permanent(6, 0), text)
        }
        // RFC 5321 section 6.3.
        DataFault::TooManyHops { .. } => Reply::new(
            554,
            permanent(4, 6),
            "Too many hops: the letter goes in circles",
        ),
    }
}

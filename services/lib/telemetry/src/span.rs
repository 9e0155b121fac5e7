//! The one list of span names and attribute keys.
//!
//! `tracing` wants literals in its macros; what is written there is held against this list by the
//! end-to-end tests, which know no other name. A call of a service is a span of its own, named
//! `Service/Method`. Keys that have an OpenTelemetry semantic convention use it. Addresses appear
//! as domains only.

/// Names of spans.
pub const NAMES: &[&str] = &[
    // An SMTP session, from greeting to close.
    "smtp.session",
    // SERVER. The root of a letter: from `MAIL` to the reply to its data.
    "smtp.transaction",
    // An SMTP `AUTH` exchange.
    "smtp.auth",
    // PRODUCER. Handing a letter to the spool.
    "send mail.queue",
    // One commit of a shard: proposed, replicated, applied.
    "raft.commit",
    // CONSUMER. One attempt of a letter at one site.
    "process mail.queue",
    // Hosts for a domain.
    "mx.lookup",
    // CLIENT. A letter to one remote host.
    "smtp.deliver",
    // Recording the outcome of an attempt.
    "settle mail.queue",
    // A notification made; a new trace, linked to the letter's.
    "create mail.dsn",
    // A change told to an IMAP session; linked to the letter's trace.
    "imap.notify",
];

/// Keys of attributes.
pub const KEYS: &[&str] = &[
    // `Message-ID` of the letter; on the spans that people search.
    "email.message_id",
    // Queue-id of the letter; on the spans that people search.
    "mail.queue_id",
    // Domain of the reverse-path.
    "mail.sender_domain",
    // Domain of a recipient.
    "mail.recipient_domain",
    // Number of recipients.
    "mail.recipients",
    // Octets of the letter.
    "mail.size",
    // Number of the attempt, from 1.
    "mail.attempt",
    // Milliseconds between due time and start of the attempt.
    "mail.wait_ms",
    // The set of hosts that the attempt goes to.
    "mail.site",
    // What became of it: accepted, refused, delivered, deferred, bounced.
    "mail.outcome",
    // SMTP reply code.
    "smtp.reply_code",
    // How the client spoke: ESMTP, ESMTPS, ESMTPA, ESMTPSA (RFC 3848).
    "smtp.protocol",
    // Raft group.
    "raft.group",
    // Raft term.
    "raft.term",
    // Raft log index.
    "raft.index",
    // Microseconds of the sync that made the commit durable.
    "raft.fsync_us",
    // The role whose code made the span.
    "postino.role",
    // Account id.
    "postino.account",
    // Address of the client (semantic convention).
    "client.address",
    // Host on the other side (semantic convention).
    "server.address",
    // Port on the other side (semantic convention).
    "server.port",
    // TLS version (semantic convention).
    "tls.protocol.version",
    // A call of a service (semantic conventions).
    "rpc.system",
    "rpc.service",
    "rpc.method",
];

/// Whether a span may have this name.
pub fn is_name(name: &str) -> bool {
    NAMES.contains(&name) || is_call(name)
}

/// Whether a span may have an attribute of this key.
pub fn is_key(key: &str) -> bool {
    KEYS.contains(&key)
}

/// `Service/Method`.
fn is_call(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.chars().all(|other| other.is_ascii_alphanumeric())
    };
    name.split_once('/')
        .is_some_and(|(service, method)| is_word(service) && is_word(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_listed_or_a_call() {
        assert!(is_name("send mail.queue") && is_name("MailStore/Deliver"));
        for other in ["send", "mailstore/deliver", "MailStore/", "A/B/C", ""] {
            assert!(!is_name(other), "{other:?}");
        }
    }
}

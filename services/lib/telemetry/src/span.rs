//! The one list of span names and attribute keys.
//!
//! `tracing` wants literals in its macros, so write `info_span!("smtp.transaction", ...)` and hold
//! the literal against this list; [`NAMES`] is what tests and dashboards look for. Keys that have
//! an OpenTelemetry semantic convention use it. Addresses appear as domains only, unless full
//! addresses are switched on.

/// An SMTP session, from greeting to close.
pub const SMTP_SESSION: &str = "smtp.session";
/// SERVER. The root of a letter: from `MAIL` to the reply to its data.
pub const SMTP_TRANSACTION: &str = "smtp.transaction";
/// An SMTP `AUTH` exchange.
pub const SMTP_AUTH: &str = "smtp.auth";
/// SPF, DKIM, DMARC, ARC of one letter.
pub const MAIL_AUTHENTICATE: &str = "mail.authenticate";
/// Asking a spam filter about one letter.
pub const MAIL_SPAM_CHECK: &str = "mail.spam_check";
/// One `RCPT` resolved.
pub const ROUTING_RESOLVE: &str = "Routing/Resolve";
/// PRODUCER. Handing a letter to the spool.
pub const SEND_MAIL_QUEUE: &str = "send mail.queue";
/// One commit of a shard: proposed, replicated, applied.
pub const RAFT_COMMIT: &str = "raft.commit";
/// CONSUMER. One attempt of a letter at one site.
pub const PROCESS_MAIL_QUEUE: &str = "process mail.queue";
/// Hosts for a domain.
pub const MX_LOOKUP: &str = "mx.lookup";
/// MTA-STS and DANE of a domain.
pub const TLS_POLICY: &str = "tls.policy";
/// CLIENT. A letter to one remote host.
pub const SMTP_DELIVER: &str = "smtp.deliver";
/// Recording the outcome of an attempt.
pub const SETTLE_MAIL_QUEUE: &str = "settle mail.queue";
/// A notification made; a new trace, linked to the letter's.
pub const CREATE_MAIL_DSN: &str = "create mail.dsn";
/// A letter filed into local mailboxes.
pub const MAIL_STORE_DELIVER: &str = "MailStore/Deliver";
/// A Sieve script run.
pub const SIEVE_RUN: &str = "sieve.run";
/// A change told to an IMAP session; linked to the letter's trace.
pub const IMAP_NOTIFY: &str = "imap.notify";

/// All names.
pub const NAMES: [&str; 17] = [
    SMTP_SESSION,
    SMTP_TRANSACTION,
    SMTP_AUTH,
    MAIL_AUTHENTICATE,
    MAIL_SPAM_CHECK,
    ROUTING_RESOLVE,
    SEND_MAIL_QUEUE,
    RAFT_COMMIT,
    PROCESS_MAIL_QUEUE,
    MX_LOOKUP,
    TLS_POLICY,
    SMTP_DELIVER,
    SETTLE_MAIL_QUEUE,
    CREATE_MAIL_DSN,
    MAIL_STORE_DELIVER,
    SIEVE_RUN,
    IMAP_NOTIFY,
];

/// Keys of attributes.
pub mod key {
    /// `Message-ID` of the letter; on the spans that people search.
    pub const MESSAGE_ID: &str = "email.message_id";
    /// Queue-id of the letter; on the spans that people search.
    pub const QUEUE_ID: &str = "mail.queue_id";
    /// Domain of the reverse-path.
    pub const SENDER_DOMAIN: &str = "mail.sender_domain";
    /// Domain of a recipient.
    pub const RECIPIENT_DOMAIN: &str = "mail.recipient_domain";
    /// Number of recipients.
    pub const RECIPIENTS: &str = "mail.recipients";
    /// Octets of the letter.
    pub const SIZE: &str = "mail.size";
    /// Number of the attempt, from 1.
    pub const ATTEMPT: &str = "mail.attempt";
    /// Milliseconds between due time and start of the attempt.
    pub const WAIT_MS: &str = "mail.wait_ms";
    /// The set of hosts that the attempt goes to.
    pub const SITE: &str = "mail.site";
    /// What became of it: accepted, refused, delivered, deferred, bounced.
    pub const OUTCOME: &str = "mail.outcome";
    /// SMTP reply code.
    pub const REPLY_CODE: &str = "smtp.reply_code";
    /// Enhanced status code.
    pub const ENHANCED_STATUS: &str = "smtp.enhanced_status";
    /// How the client spoke: ESMTP, ESMTPS, ESMTPA, ESMTPSA, LMTP (RFC 3848).
    pub const PROTOCOL: &str = "smtp.protocol";
    /// Raft group.
    pub const RAFT_GROUP: &str = "raft.group";
    /// Raft term.
    pub const RAFT_TERM: &str = "raft.term";
    /// Raft log index.
    pub const RAFT_INDEX: &str = "raft.index";
    /// Microseconds of the sync that made the commit durable.
    pub const FSYNC_US: &str = "raft.fsync_us";
    /// Shard of the store.
    pub const SHARD: &str = "postino.shard";
    /// Account id.
    pub const ACCOUNT: &str = "postino.account";
    /// Address of the client (semantic convention).
    pub const CLIENT_ADDRESS: &str = "client.address";
    /// Host on the other side (semantic convention).
    pub const SERVER_ADDRESS: &str = "server.address";
    /// Port on the other side (semantic convention).
    pub const SERVER_PORT: &str = "server.port";
    /// TLS version (semantic convention).
    pub const TLS_VERSION: &str = "tls.protocol.version";
    /// What went wrong (semantic convention).
    pub const ERROR_TYPE: &str = "error.type";
}

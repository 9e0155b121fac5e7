//! `postino export` and `postino import`: an account's mail as files that other programs read.
//!
//! - **Maildir++**: `DIR` is INBOX, `DIR/.Archive.2026` is `Archive/2026` (`folder`, `maildir`).
//! - **mbox**, in its variant "mboxrd": `DIR/INBOX.mbox`, `DIR/Archive/2026.mbox` (`mbox`).
//!
//! The store keeps lines with CRLF, files have LF (`lines`). Flags, keywords and the time of
//! arrival go along; UIDs do not, since they belong to a mailbox of one server.

mod account;
mod export;
mod folder;
mod import;
mod lines;
mod maildir;
mod mbox;

use postino_types::FlagSet;

pub(crate) use export::export;
pub(crate) use import::import;

/// How mail is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A directory per mailbox, a file per message.
    Maildir,
    /// A file per mailbox.
    Mbox,
}

/// What is kept of a message beside its octets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Attributes {
    flags: FlagSet,
    /// When it arrived: Unix time in milliseconds.
    arrived_ms: i64,
}

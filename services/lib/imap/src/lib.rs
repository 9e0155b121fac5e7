//! IMAP4rev1 without I/O (RFC 3501 and its extensions): what goes over the wire, and the rules of
//! a session that need neither a socket nor a store.
//!
//! - [`Receiver`] turns bytes into [`Event`]s: commands, and the streamed message of `APPEND`.
//! - [`Command`] is every command as a value, with its encoder for clients.
//! - [`response`] writes what a server says; long contents stream past it.
//! - [`state`] says which command is allowed when.
//! - [`View`] is a session's picture of the selected mailbox: sequence numbers, and what to tell.
//! - [`search`] evaluates search keys over any message.

pub mod command;
mod cursor;
mod date;
mod limits;
mod pattern;
mod receiver;
pub mod response;
pub mod sasl;
pub mod search;
mod sequence;
pub mod state;
mod string;
mod tag;
pub mod utf7;
mod view;

pub use command::Command;
pub use cursor::SyntaxError;
pub use date::{Date, DateTime};
pub use limits::Limits;
pub use pattern::Pattern;
pub use receiver::{AppendSize, Event, Receiver, Waits};
pub use sequence::{Bound, SequenceSet};
pub use string::{LiteralKind, put_astring, put_literal_head, put_nstring, put_string};
pub use tag::Tag;
pub use view::{Changes, Expunges, Selection, UidRuns, Update, View};

//! Commands on messages, by sequence number or by UID (RFC 3501 sections 6.4.4 to 6.4.8).

use super::{Command, Fetch, Mailbox, Search, Store, unknown_command};
use crate::cursor::{Cursor, Parsed};
use crate::sequence::SequenceSet;

/// What the numbers of a command are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Numbering {
    /// Message sequence numbers.
    Sequence,
    /// UIDs: the command has `UID` before it.
    Uid,
}

impl Numbering {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Sequence => "",
            Self::Uid => "UID ",
        }
    }
}

/// The command `name`, in upper case, whose arguments are next.
pub(super) fn parse(cursor: &mut Cursor<'_>, name: &str, numbering: Numbering) -> Parsed<Command> {
    match name {
        "SEARCH" => Search::parse(cursor).map(|search| Command::Search(numbering, search)),
        "FETCH" => Fetch::parse(cursor).map(|fetch| Command::Fetch(numbering, fetch)),
        "STORE" => Store::parse(cursor).map(|store| Command::Store(numbering, store)),
        "COPY" => set_and_target(cursor).map(|(set, to)| Command::Copy(numbering, set, to)),
        "MOVE" => set_and_target(cursor).map(|(set, to)| Command::Move(numbering, set, to)),
        _ => Err(unknown_command()),
    }
}

fn set_and_target(cursor: &mut Cursor<'_>) -> Parsed<(SequenceSet, Mailbox)> {
    cursor.space()?;
    let set = SequenceSet::parse(cursor)?;
    Ok((set, Mailbox::parse_argument(cursor)?))
}

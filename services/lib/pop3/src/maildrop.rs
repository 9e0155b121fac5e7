//! The messages of one session (RFC 1939 section 5): numbered from 1, fixed while it lasts.

use std::num::NonZeroU32;

use postino_types::{Uid, UidValidity};

/// A message's number in the session.
pub type MessageNumber = NonZeroU32;

/// A message of the maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Its UID in INBOX.
    pub uid: Uid,
    /// Octets.
    pub size: u64,
}

/// The maildrop as the session sees it: a snapshot of INBOX, and what is marked as deleted.
#[derive(Debug)]
pub struct Maildrop {
    validity: UidValidity,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    message: Message,
    mark: Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Kept,
    Deleted,
}

impl Maildrop {
    /// A maildrop of these messages, in the order of their numbers, none marked.
    pub fn new(validity: UidValidity, messages: impl IntoIterator<Item = Message>) -> Self {
        let kept = |message| Entry {
            message,
            mark: Mark::Kept,
        };
        Self {
            validity,
            entries: messages.into_iter().map(kept).collect(),
        }
    }

    /// The message with this number, unless it is marked as deleted.
    pub(crate) fn get(&self, number: MessageNumber) -> Option<Message> {
        let entry = self.entries.get(index(number)?)?;
        (entry.mark == Mark::Kept).then_some(entry.message)
    }

    /// Marks a message as deleted; false if there is none.
    pub(crate) fn delete(&mut self, number: MessageNumber) -> bool {
        match index(number).and_then(|index| self.entries.get_mut(index)) {
            Some(entry) if entry.mark == Mark::Kept => {
                entry.mark = Mark::Deleted;
                true
            }
            _ => false,
        }
    }

    /// Unmarks all.
    pub(crate) fn reset(&mut self) {
        for entry in &mut self.entries {
            entry.mark = Mark::Kept;
        }
    }

    /// UIDs of messages marked as deleted, ascending as they are listed.
    pub(crate) fn deleted(&self) -> Vec<Uid> {
        let deleted = self
            .entries
            .iter()
            .filter(|entry| entry.mark == Mark::Deleted);
        deleted.map(|entry| entry.message.uid).collect()
    }

    /// Number and octets of the messages that are not marked.
    pub(crate) fn totals(&self) -> (usize, u64) {
        self.from(0).fold((0, 0), |(count, size), (_, message)| {
            (count + 1, size.saturating_add(message.size))
        })
    }

    /// Unmarked messages and their numbers, from an index on.
    pub(crate) fn from(&self, index: usize) -> impl Iterator<Item = (usize, Message)> {
        let rest = self.entries.iter().enumerate().skip(index);
        rest.filter(|(_, entry)| entry.mark == Mark::Kept)
            .map(|(index, entry)| (index + 1, entry.message))
    }

    /// The unique-id of a message: the same in every session (RFC 1939 section 7, UIDL).
    pub(crate) fn unique_id(&self, message: Message) -> String {
        format!("{}.{}", self.validity, message.uid)
    }
}

fn index(number: MessageNumber) -> Option<usize> {
    usize::try_from(number.get() - 1).ok()
}

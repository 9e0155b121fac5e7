//! A session's picture of its selected mailbox.
//!
//! The client knows messages by sequence number, and these shift only when the client is told of
//! an expunge. So the view keeps what the client was told, and turns changes from the store into
//! what may be told now (RFC 3501 sections 5.2, 5.5 and 7.4.1). Flags are not kept: they pass
//! through. UIDs are kept as runs: a mailbox without gaps costs twelve octets, whatever its size.

mod runs;

use std::ops::RangeInclusive;

use postino_types::{FlagSet, ModSeq, Uid};

pub use runs::UidRuns;

use crate::command::Numbering;
use crate::response::Recent;
use crate::sequence::SequenceSet;

/// Whether EXPUNGE responses may be sent now. They may not while FETCH, STORE or SEARCH (without
/// UID) runs, nor while no command does, IDLE excepted (RFC 3501 section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expunges {
    /// They may.
    Tell,
    /// They have to wait.
    Hold,
}

impl Expunges {
    /// The rule for the end of a command.
    pub fn after(command: &crate::Command) -> Self {
        use crate::Command;
        match command {
            Command::Fetch(Numbering::Sequence, _)
            | Command::Store(Numbering::Sequence, _)
            | Command::Search(Numbering::Sequence, _) => Self::Hold,
            _ => Self::Tell,
        }
    }
}

/// What happened in the mailbox since the view's mod-sequence.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Messages that are new or whose flags changed, in order of UID.
    pub changed: Vec<(Uid, FlagSet, ModSeq)>,
    /// Messages that are gone, as inclusive ranges of UIDs; UIDs that never were may be in them.
    pub expunged: Vec<RangeInclusive<u32>>,
    /// The mod-sequence these changes lead to.
    pub highest: Option<ModSeq>,
}

/// Something to tell the client, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// `* n EXPUNGE`
    Expunge(u32),
    /// `* n EXISTS`
    Exists(u32),
    /// `* n RECENT`
    Recent(u32),
    /// `* n FETCH (UID … FLAGS (…))`
    Flags {
        /// Its sequence number.
        sequence: u32,
        /// Its UID.
        uid: Uid,
        /// All its flags.
        flags: FlagSet,
        /// Whether it is `\Recent` here.
        recent: Recent,
        /// The mod-sequence of the change.
        mod_seq: ModSeq,
    },
}

/// A command that names a sequence number that is not in use: answer `BAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no message has this number")]
pub struct NoSuchMessage;

/// Messages that a command chose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Ascending, disjoint, inclusive ranges of UIDs; each UID between the ends that is in the
    /// view is chosen.
    pub uids: Vec<RangeInclusive<u32>>,
}

/// A session's picture of its selected mailbox.
#[derive(Debug, Clone)]
pub struct View {
    uids: UidRuns,
    /// Gone, but the client was not told.
    held: UidRuns,
    /// From here on a message is `\Recent` in this session.
    first_recent: u32,
    mod_seq: ModSeq,
}

impl View {
    /// The view at selection. `first_recent` is the lowest UID that is `\Recent` here; messages
    /// that arrive later are, too.
    pub fn new(uids: UidRuns, first_recent: u32, mod_seq: ModSeq) -> Self {
        Self {
            uids,
            held: UidRuns::default(),
            first_recent,
            mod_seq,
        }
    }

    /// The mod-sequence up to which the view knows the mailbox: changes are asked from here.
    pub fn mod_seq(&self) -> ModSeq {
        self.mod_seq
    }

    /// How many messages the client knows of.
    pub fn exists(&self) -> u32 {
        self.uids.len()
    }

    /// How many of them are `\Recent`.
    pub fn recent(&self) -> u32 {
        self.uids.count_from(self.first_recent)
    }

    /// Whether a message is `\Recent` here.
    pub fn is_recent(&self, uid: Uid) -> Recent {
        match uid.get() >= self.first_recent {
            true => Recent::Yes,
            false => Recent::No,
        }
    }

    /// The sequence number of a message.
    pub fn sequence_of(&self, uid: Uid) -> Option<u32> {
        self.uids.position(uid.get())
    }

    /// The message with a sequence number.
    pub fn uid_at(&self, sequence: u32) -> Option<Uid> {
        Uid::new(self.uids.at(sequence)?).ok()
    }

    /// The messages that a set of a command means. A UID that is not there is no error (RFC 3501
    /// section 6.4.8), a sequence number that is not there is one (section 9, `seq-number`).
    pub fn select(
        &self,
        numbering: Numbering,
        set: &SequenceSet,
    ) -> Result<Selection, NoSuchMessage> {
        let exists = self.exists();
        let uids = match numbering {
            Numbering::Uid => {
                // Cut off at the last UID: what arrived since is not known to the client.
                let last = self.uids.last().unwrap_or(0);
                set.resolve(last)
                    .into_iter()
                    .map(|range| *range.start()..=last.min(*range.end()))
                    .filter(|range| self.uids.intersects(range))
                    .collect()
            }
            Numbering::Sequence => {
                let out_of_range = set.largest_number().is_some_and(|n| n > exists);
                if out_of_range || exists == 0 {
                    return Err(NoSuchMessage);
                }
                set.resolve(exists)
                    .into_iter()
                    .filter_map(|range| {
                        Some(self.uids.at(*range.start())?..=self.uids.at(*range.end())?)
                    })
                    .collect()
            }
        };
        Ok(Selection { uids })
    }

    /// The selected messages, as sequence number and UID, in order.
    pub fn members<'a>(
        &'a self,
        selection: &'a Selection,
    ) -> impl Iterator<Item = (u32, Uid)> + 'a {
        selection.uids.iter().flat_map(|range| {
            let first = self.uids.count_below(*range.start());
            let count = self.uids.count_below_or_at(*range.end()) - first;
            (first + 1..=first + count).filter_map(|n| Some((n, self.uid_at(n)?)))
        })
    }

    /// Whether an expunge was not told yet.
    pub fn holds_expunges(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes in what happened, and says what to tell.
    pub fn apply(&mut self, changes: Changes, expunges: Expunges) -> Vec<Update> {
        if let Some(highest) = changes.highest {
            self.mod_seq = self.mod_seq.max(highest);
        }
        for range in &changes.expunged {
            self.uids.copy_range(range, &mut self.held);
        }
        let mut updates = Vec::new();
        if expunges == Expunges::Tell {
            self.tell_expunges(&mut updates);
        }
        let last_known = self.uids.last().unwrap_or(0);
        let (mut arrived, mut arrived_recent) = (0, 0);
        let mut flags = Vec::new();
        for (uid, set, mod_seq) in changes.changed {
            let is_new = uid.get() > last_known && self.uids.position(uid.get()).is_none();
            if is_new && !changes.expunged.iter().any(|r| r.contains(&uid.get())) {
                self.uids.push(uid.get());
                arrived += 1;
                arrived_recent += u32::from(self.is_recent(uid) == Recent::Yes);
            } else if !is_new {
                flags.push((uid, set, mod_seq));
            }
        }
        if arrived > 0 {
            updates.push(Update::Exists(self.exists()));
        }
        if arrived_recent > 0 {
            updates.push(Update::Recent(self.recent()));
        }
        updates.extend(flags.into_iter().filter_map(|(uid, flags, mod_seq)| {
            Some(Update::Flags {
                sequence: self.sequence_of(uid)?,
                uid,
                flags,
                recent: self.is_recent(uid),
                mod_seq,
            })
        }));
        updates
    }

    /// From the last to the first, so that no number shifts another.
    fn tell_expunges(&mut self, updates: &mut Vec<Update>) {
        let held = std::mem::take(&mut self.held);
        for range in held.ranges().rev() {
            let first = self.uids.count_below(*range.start()) + 1;
            let last = self.uids.count_below_or_at(*range.end());
            updates.extend((first..=last).rev().map(Update::Expunge));
        }
        self.uids.remove_all(&held);
    }
}

#[cfg(test)]
mod tests;

//! STORE: flags of messages, conditional if asked (RFC 7162 section 3.1.3).

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{FlagOperation, RefusalKind, StoreFlagsAnswer, StoreFlagsCommand};

use super::append::{system_flags, too_many_keywords};
use super::commit::{Commit, Outcome, refuse};
use super::filing::{Opened, runs_of};
use crate::model::message::MessageRow;

/// Changes flags; messages that have them already keep their mod-sequence.
pub(super) fn store(commit: &mut Commit<'_>, command: &StoreFlagsCommand) -> Outcome {
    let mut opened = commit.open(command.account, command.mailbox)?;
    let change = Change::of(&mut opened, command)?;
    let (messages, next_uid) = commit.messages(&opened, &command.uids, command.limit)?;
    let mut mod_seq = None;
    let mut shown = Vec::with_capacity(messages.len());
    let mut modified = Vec::new();
    for (uid, old) in messages {
        if command
            .unchanged_since
            .is_some_and(|since| old.mod_seq > since)
        {
            modified.push(uid);
            continue;
        }
        let (system_flags, keywords) = change.apply(&old);
        let mut row = old;
        if (system_flags, keywords) != (old.system_flags, old.keywords) {
            row = MessageRow {
                system_flags,
                keywords,
                mod_seq: *mod_seq.get_or_insert_with(|| opened.next_mod_seq()),
                ..old
            };
            commit.replace(&mut opened, uid, &old, &row);
        }
        shown.push(row.shown(uid, &opened.mailbox));
    }
    if mod_seq.is_some() {
        commit.close(&opened);
    }
    Ok(Answer::Flags(StoreFlagsAnswer {
        messages: shown,
        modified: runs_of(modified),
        highest_mod_seq: opened.mailbox.highest_mod_seq,
        next_uid,
    }))
}

/// What is done to each message's flags.
struct Change {
    operation: FlagOperation,
    system_flags: u8,
    keywords: u64,
}

impl Change {
    fn of(opened: &mut Opened, command: &StoreFlagsCommand) -> Outcome<Self> {
        let operation = command.operation();
        let keywords = match operation {
            FlagOperation::Unspecified => {
                return Err(refuse(RefusalKind::Invalid, "no operation on flags"));
            }
            // No message has a keyword that the mailbox does not know.
            FlagOperation::Remove => opened.mailbox.known_bits(&command.keywords),
            FlagOperation::Add | FlagOperation::Replace => {
                let bits = opened.mailbox.bits(&command.keywords);
                bits.ok_or_else(too_many_keywords)?
            }
        };
        Ok(Self {
            operation,
            system_flags: system_flags(command.system_flags),
            keywords,
        })
    }

    fn apply(&self, row: &MessageRow) -> (u8, u64) {
        let (system, keywords) = (row.system_flags, row.keywords);
        match self.operation {
            FlagOperation::Add => (system | self.system_flags, keywords | self.keywords),
            FlagOperation::Remove => (system & !self.system_flags, keywords & !self.keywords),
            FlagOperation::Replace | FlagOperation::Unspecified => {
                (self.system_flags, self.keywords)
            }
        }
    }
}

//! Filing: a message comes into a mailbox, or goes out of it.

use bytes::Bytes;
use postino_proto::store::v1::{RefusalKind, UidRange};

use super::commit::{Commit, Outcome, refuse};
use crate::db::{DbError, Family};
use crate::model::account::AccountRow;
use crate::model::email::{self, BodyPart, EmailRow};
use crate::model::mailbox::{self, MailboxRow};
use crate::model::message::{self, MessageRow};
use crate::model::{Range, Rows, fixed, last_u32};

/// A mailbox that is being changed, with its account. Written back by [`Commit::close`].
pub(super) struct Opened {
    pub(super) account_id: u64,
    pub(super) account: AccountRow,
    pub(super) id: u64,
    pub(super) mailbox: MailboxRow,
}

impl Opened {
    /// A new mod-sequence, for all that one command changes in this mailbox.
    pub(super) fn next_mod_seq(&mut self) -> u64 {
        self.account.highest_mod_seq += 1;
        self.mailbox.highest_mod_seq = self.account.highest_mod_seq;
        self.account.highest_mod_seq
    }

    fn count_keywords(&mut self, bits: u64, change: impl Fn(u32) -> u32) {
        for (bit, keyword) in self.mailbox.keywords.iter_mut().enumerate() {
            if bits & (1 << bit) != 0 {
                keyword.count = change(keyword.count);
            }
        }
    }

    /// Counts a message in.
    fn count_in(&mut self, uid: u32, row: &MessageRow) {
        let mailbox = &mut self.mailbox;
        if row.is_unseen() {
            // With none unseen, the floor may be anywhere below.
            let floor = if mailbox.unseen == 0 {
                uid
            } else {
                mailbox.unseen_floor.min(uid)
            };
            mailbox.unseen_floor = floor;
            mailbox.unseen += 1;
        }
        mailbox.deleted += u32::from(row.is_deleted());
        mailbox.exists += 1;
        mailbox.size = mailbox.size.saturating_add(row.size);
        self.count_keywords(row.keywords, |count| count + 1);
        self.account.octets = self.account.octets.saturating_add(row.size);
        self.account.messages += 1;
    }

    /// Counts a message out.
    fn count_out(&mut self, row: &MessageRow) {
        let mailbox = &mut self.mailbox;
        mailbox.unseen = mailbox.unseen.saturating_sub(u32::from(row.is_unseen()));
        mailbox.deleted = mailbox.deleted.saturating_sub(u32::from(row.is_deleted()));
        mailbox.exists = mailbox.exists.saturating_sub(1);
        mailbox.size = mailbox.size.saturating_sub(row.size);
        self.count_keywords(row.keywords, |count| count.saturating_sub(1));
        self.account.octets = self.account.octets.saturating_sub(row.size);
        self.account.messages = self.account.messages.saturating_sub(1);
    }

    /// Counts a message with other flags than it had.
    pub(super) fn recount(&mut self, uid: u32, old: &MessageRow, new: &MessageRow) {
        self.count_out(old);
        self.count_in(uid, new);
        if !new.is_unseen() && self.mailbox.unseen_floor == uid {
            self.mailbox.unseen_floor = uid.saturating_add(1);
        }
    }
}

impl Commit<'_> {
    /// Opens a mailbox for changes.
    pub(super) fn open(&self, account_id: u64, id: u64) -> Outcome<Opened> {
        Ok(Opened {
            account_id,
            account: self.account(account_id)?,
            id,
            mailbox: self.mailbox(account_id, id)?,
        })
    }

    /// Writes an opened mailbox and its account back.
    pub(super) fn close(&mut self, opened: &Opened) {
        self.put_account(opened.account_id, &opened.account);
        self.put_mailbox(opened.account_id, opened.id, &opened.mailbox);
    }

    /// Stores a new email and returns its id. It has one reference, to be given to a message.
    pub(super) fn put_email(&mut self, content: Bytes, size: u64, body: Vec<BodyPart>) -> u64 {
        let id = self.new_email();
        let key = email::email(self.space(), id);
        self.put(
            Family::Email,
            key,
            &EmailRow {
                content,
                body,
                size,
            },
        );
        id
    }

    /// Puts a message into a mailbox under the next UID, with the mod-sequence in `row`.
    pub(super) fn insert(&mut self, opened: &mut Opened, row: &MessageRow) -> Outcome<u32> {
        let uid = opened.mailbox.uid_next;
        let full = || refuse(RefusalKind::TooBig, "the mailbox has used up its UIDs");
        opened.mailbox.uid_next = uid.checked_add(1).ok_or_else(full)?;
        opened.count_in(uid, row);
        self.put_message(opened, uid, row);
        Ok(uid)
    }

    /// Writes a message's row and what is found by its flags and mod-sequence.
    fn put_message(&mut self, opened: &Opened, uid: u32, row: &MessageRow) {
        let (space, account, id) = (self.space(), opened.account_id, opened.id);
        let key = message::message(space, account, id, uid);
        self.rows.put(Family::Mailbox, key, row.encode());
        let key = mailbox::changed(space, account, id, row.mod_seq, uid);
        self.rows.put(Family::Change, key, fixed(&[]));
        if row.is_deleted() {
            let key = mailbox::deleted(space, account, id, uid);
            self.rows.put(Family::Mailbox, key, fixed(&[]));
        }
    }

    /// Replaces a message's row by one with other flags and a new mod-sequence.
    pub(super) fn replace(
        &mut self,
        opened: &mut Opened,
        uid: u32,
        old: &MessageRow,
        new: &MessageRow,
    ) {
        opened.recount(uid, old, new);
        let (space, account, id) = (self.space(), opened.account_id, opened.id);
        let key = mailbox::changed(space, account, id, old.mod_seq, uid);
        self.rows.delete(Family::Change, key);
        if old.is_deleted() && !new.is_deleted() {
            let key = mailbox::deleted(space, account, id, uid);
            self.rows.delete(Family::Mailbox, key);
        }
        self.put_message(opened, uid, new);
    }

    /// Takes a message out of a mailbox; its reference to the email is the caller's now. The
    /// tombstone is written by [`Self::bury`].
    pub(super) fn remove(
        &mut self,
        opened: &mut Opened,
        uid: u32,
        row: &MessageRow,
    ) -> Result<(), DbError> {
        let (space, account, id) = (self.space(), opened.account_id, opened.id);
        opened.count_out(row);
        let key = message::message(space, account, id, uid);
        self.rows.delete(Family::Mailbox, key);
        let key = mailbox::changed(space, account, id, row.mod_seq, uid);
        self.rows.delete(Family::Change, key);
        if row.is_deleted() {
            let key = mailbox::deleted(space, account, id, uid);
            self.rows.delete(Family::Mailbox, key);
        }
        self.cut_run(opened, uid)
    }

    /// Takes a UID out of the runs of UIDs.
    fn cut_run(&mut self, opened: &mut Opened, uid: u32) -> Result<(), DbError> {
        let (space, account, id) = (self.space(), opened.account_id, opened.id);
        let (first, last) = match uid >= opened.mailbox.run_first {
            true => {
                let first = opened.mailbox.run_first;
                opened.mailbox.run_first = uid + 1;
                (first, uid)
            }
            false => {
                let upto = mailbox::run(space, account, id, uid.saturating_add(1));
                let runs = mailbox::runs(space, account, id).below(upto).reverse();
                let Some((key, value)) = self.rows.head(Family::Mailbox, &runs)? else {
                    return Ok(());
                };
                (last_u32(&key)?, last_u32(&value)?)
            }
        };
        let mut put = |first: u32, last: u32| {
            let key = mailbox::run(space, account, id, first);
            self.rows
                .put(Family::Mailbox, key, fixed(&[&last.to_be_bytes()]));
        };
        if uid < last {
            put(uid + 1, last);
        }
        match first < uid {
            true => put(first, uid - 1),
            false => self
                .rows
                .delete(Family::Mailbox, mailbox::run(space, account, id, first)),
        }
        Ok(())
    }

    /// Writes tombstones for UIDs that were removed under this mod-sequence.
    pub(super) fn bury(&mut self, opened: &Opened, mod_seq: u64, runs: &[UidRange]) {
        let (space, account, id) = (self.space(), opened.account_id, opened.id);
        for run in runs {
            let key = mailbox::expunged(space, account, id, mod_seq, run.first);
            self.rows
                .put(Family::Change, key, fixed(&[&run.last.to_be_bytes()]));
        }
    }

    /// The messages with these UIDs, up to `limit`; and the UID to go on with if there are more.
    pub(super) fn messages(
        &self,
        opened: &Opened,
        uids: &[UidRange],
        limit: u32,
    ) -> Result<(Vec<(u32, MessageRow)>, u32), DbError> {
        let (space, account, id) = (self.space(), opened.account_id, opened.id);
        let range = |uids: &UidRange| message::between(space, account, id, uids.first, uids.last);
        let read = |key: &[u8], value: &[u8]| Ok((last_u32(key)?, MessageRow::decode(value)?));
        read_ranges(
            &self.rows,
            Family::Mailbox,
            uids.iter().map(range),
            limit,
            read,
        )
    }
}

/// Rows of several ranges, up to `limit`, as `read` makes them; and the UID at which the rest
/// starts, or 0. Keys end in a UID.
pub(super) fn read_ranges<T>(
    rows: &impl Rows,
    family: Family,
    ranges: impl Iterator<Item = Range>,
    limit: u32,
    read: impl Fn(&[u8], &[u8]) -> Result<T, DbError>,
) -> Result<(Vec<T>, u32), DbError> {
    let mut found = Vec::new();
    let mut next = 0;
    for range in ranges {
        rows.visit(family, &range, &mut |key, value| {
            if found.len() as u64 >= u64::from(limit) {
                next = last_u32(key)?;
                return Ok(crate::model::Flow::Break(()));
            }
            found.push(read(key, value)?);
            Ok(crate::model::Flow::Continue(()))
        })?;
        if next != 0 {
            break;
        }
    }
    Ok((found, next))
}

/// UIDs in rising order as runs.
pub(super) fn runs_of(uids: impl IntoIterator<Item = u32>) -> Vec<UidRange> {
    let mut runs: Vec<UidRange> = Vec::new();
    for uid in uids {
        match runs.last_mut() {
            Some(run) if run.last.checked_add(1) == Some(uid) => run.last = uid,
            _ => runs.push(UidRange {
                first: uid,
                last: uid,
            }),
        }
    }
    runs
}

//! The state of one shard while a batch of entries is applied to it.

use std::collections::BTreeSet;

use bytes::Bytes;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{RefusalKind, Refused};
use postino_types::ShardId;

use super::overlay::Overlay;
use crate::db::{Db, DbError, Family, Key, Space, WriteBatch};
use crate::model::account::{self, AccountRow, Standing};
use crate::model::email::BodyPart;
use crate::model::mailbox::{self, MailboxRow};
use crate::model::spool::{self, ShardRow};
use crate::model::{Rows, encode};
use crate::notify::News;
use crate::raft::{ApplyHalt, CommittedEntry, body_key};

/// What a command came to.
pub(crate) type Outcome<T = Answer> = Result<T, Rejection>;

/// Why a command changes nothing.
#[derive(Debug)]
pub(crate) enum Rejection {
    /// It cannot be done; the answer says why.
    Refused(Refused),
    /// It cannot even be refused: the replica stops.
    Halt(ApplyHalt),
}

impl From<DbError> for Rejection {
    fn from(error: DbError) -> Self {
        Self::Halt(error.into())
    }
}

/// Refuses a command.
pub(crate) fn refuse(kind: RefusalKind, message: impl Into<String>) -> Rejection {
    Rejection::Refused(Refused {
        kind: kind.into(),
        message: message.into(),
        shard: 0,
    })
}

/// Refuses a command for an account that has moved.
fn moved(to: ShardId) -> Rejection {
    Rejection::Refused(Refused {
        kind: RefusalKind::Moved.into(),
        message: format!("the account lives on shard {to} now"),
        shard: to.get(),
    })
}

/// A batch of entries under way.
pub(crate) struct Commit<'a> {
    pub(super) rows: Overlay<'a>,
    pub(super) shard: ShardRow,
    /// Index and term of the entry that is being applied.
    pub(super) index: u64,
    pub(super) term: u64,
    stamp_ms: u64,
    /// Place of the command in its entry.
    pub(super) number: u32,
    pub(super) body: CommandBody,
    news: News,
    /// Bodies that nothing refers to any more.
    gone: Vec<(u64, u32)>,
    /// Of the command under way; joins the others when it is done.
    pub(super) freed: Vec<(u64, u32)>,
    touched: BTreeSet<(u64, u64)>,
    filed: Vec<(u64, Bytes)>,
    due: Vec<(u64, String)>,
}

/// The body that came with a command, and how much of it has found a place.
#[derive(Default)]
pub(super) struct CommandBody {
    pub(super) index: u64,
    pub(super) number: u32,
    pub(super) length: u64,
    pub(super) used: Vec<BodyPart>,
}

impl<'a> Commit<'a> {
    pub(super) fn start(db: &'a Db, space: Space) -> Result<Self, DbError> {
        let rows = Overlay::new(db, space);
        let shard = rows.row(Family::Spool, spool::shard(space))?;
        Ok(Self {
            rows,
            shard: shard.unwrap_or_default(),
            index: 0,
            term: 0,
            stamp_ms: 0,
            number: 0,
            body: CommandBody::default(),
            news: News::default(),
            gone: Vec::new(),
            freed: Vec::new(),
            touched: BTreeSet::new(),
            filed: Vec::new(),
            due: Vec::new(),
        })
    }

    /// Goes to the next entry. Clocks of leaders differ, but time never goes back.
    pub(super) fn enter(&mut self, entry: &CommittedEntry) {
        self.index = entry.index;
        self.term = entry.term;
        self.number = 0;
        self.stamp_ms = entry.time_ms;
        self.shard.now_ms = self.shard.now_ms.max(entry.time_ms);
        if self.shard.bodies_counted_from == 0 {
            self.shard.bodies_counted_from = entry.index;
        }
    }

    pub(super) fn take_body(&mut self, index: u64, number: u32, length: u64) {
        self.body = CommandBody {
            index,
            number,
            length,
            used: Vec::new(),
        };
    }

    /// Keeps what the command wrote.
    pub(super) fn finish_command(&mut self) -> Result<(), DbError> {
        self.count_own_body();
        self.rows.keep();
        self.gone.append(&mut self.freed);
        self.number += 1;
        self.news.mailboxes.append(&mut self.touched);
        self.news.filed.append(&mut self.filed);
        self.news.due.append(&mut self.due);
        Ok(())
    }

    /// Takes back what the command wrote; its body goes.
    pub(super) fn roll_back(&mut self) -> Result<(), DbError> {
        self.rows.roll_back();
        self.body.used.clear();
        self.freed.clear();
        self.touched.clear();
        self.filed.clear();
        self.due.clear();
        self.finish_command()
    }

    /// Puts everything into a batch, and says who should be told once it is written.
    pub(super) fn write_into(mut self, batch: &mut WriteBatch) -> News {
        let space = self.space();
        let shard = spool::shard(space);
        if self.index > 0 {
            self.rows.put(Family::Spool, shard, encode(&self.shard));
        }
        self.rows.write_into(batch);
        for (index, number) in self.gone {
            batch.delete(Family::Bodies, body_key(space, index, number));
        }
        self.news
    }

    pub(super) fn space(&self) -> Space {
        self.rows.space()
    }

    /// Unix milliseconds: when the leader proposed the entry, by its clock. Unlike the shard's time
    /// it goes back when a clock that was ahead is set right: for what others compare with their
    /// own clocks.
    pub(super) fn stamp_ms(&self) -> u64 {
        self.stamp_ms
    }

    /// Unix milliseconds: the time of the entry, or of an earlier one if that was later.
    pub(super) fn now_ms(&self) -> u64 {
        self.shard.now_ms
    }

    /// A new email id, unique in the cluster: the shard, then a count.
    pub(super) fn new_email(&mut self) -> u64 {
        self.shard.last_email += 1;
        (u64::from(self.space().shard().get()) << 44) | self.shard.last_email
    }

    pub(super) fn put(&mut self, family: Family, key: Key, row: &impl prost::Message) {
        self.rows.put(family, key, encode(row));
    }

    /// The account, which must be there.
    pub(super) fn account(&self, id: u64) -> Outcome<AccountRow> {
        match account::standing(&self.rows, self.space(), id)? {
            Standing::Here(row) => Ok(row),
            Standing::Moving => {
                let why = "the account is moving to another shard; ask again";
                Err(refuse(RefusalKind::Moving, why))
            }
            Standing::Moved(to) => Err(moved(to)),
            Standing::Absent => {
                let why = "there is no such account";
                Err(refuse(RefusalKind::NotFound, why))
            }
        }
    }

    pub(super) fn put_account(&mut self, id: u64, row: &AccountRow) {
        self.put(Family::Mailbox, account::account(self.space(), id), row);
    }

    /// The mailbox, which must be there.
    pub(super) fn mailbox(&self, account: u64, id: u64) -> Outcome<MailboxRow> {
        match mailbox::find(&self.rows, self.space(), account, id)? {
            Some(row) => Ok(row),
            None => Err(self.no_mailbox(account)?),
        }
    }

    /// The mailbox with this name, which must be there.
    pub(super) fn mailbox_named(&self, account: u64, name: &str) -> Outcome<(u64, MailboxRow)> {
        let id = mailbox::find_named(&self.rows, self.space(), account, name)?;
        match id {
            Some(id) => Ok((id, self.mailbox(account, id)?)),
            None => Err(self.no_mailbox(account)?),
        }
    }

    /// What is wrong about a mailbox that is not there; the account itself may be elsewhere.
    fn no_mailbox(&self, account: u64) -> Outcome<Rejection> {
        self.account(account)?;
        Ok(refuse(RefusalKind::NotFound, "there is no such mailbox"))
    }

    /// Writes a mailbox back; those who follow the account are told.
    pub(super) fn put_mailbox(&mut self, account: u64, id: u64, row: &MailboxRow) {
        self.put(
            Family::Mailbox,
            mailbox::mailbox(self.space(), account, id),
            row,
        );
        self.touch(account, id);
    }

    /// Tells those who follow the account that this mailbox has changed.
    pub(super) fn touch(&mut self, account: u64, mailbox: u64) {
        self.touched.insert((account, mailbox));
    }

    /// Tells those who follow the account whose trace the letter belongs to that came into it.
    pub(super) fn tell_filed(&mut self, account: u64, trace: &Bytes) {
        if !trace.is_empty() {
            self.filed.push((account, trace.clone()));
        }
    }

    /// Tells the queue that a letter is due.
    pub(super) fn tell_due(&mut self, due_ms: u64, queue_id: &str) {
        self.due.push((due_ms, queue_id.to_owned()));
    }
}

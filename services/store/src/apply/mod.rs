//! What each command of the log changes: one file per family of commands.
//!
//! Apply is deterministic. It reads the entries and the shard, and nothing else: no clock (time
//! comes with the entry and never goes back), no random source, no setting that could differ
//! between replicas. A command that cannot be done is refused, leaves no trace, and its answer says
//! why; a command that is not known halts the replica.

mod account;
mod append;
mod body;
mod commit;
mod copy;
mod deliver;
mod directory;
mod expunge;
mod filing;
mod flags;
mod lease;
mod mailbox;
mod overlay;
mod reap;
mod settle;
mod spool;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_types::ShardId;

use crate::command;
use crate::db::{Db, DbError};
use crate::notify::Notifier;
use crate::raft::{ApplyHalt, CommittedEntry, Machine, Progress};
use commit::Outcome;
pub(crate) use commit::{Commit, Rejection};

/// The state of every shard of this node.
pub(crate) struct Applier {
    db: Db,
    notifier: Arc<Notifier>,
}

impl Applier {
    /// Keeps state in `db`, and tells `notifier` what has changed.
    pub(crate) fn new(db: Db, notifier: Arc<Notifier>) -> Self {
        Self { db, notifier }
    }
}

impl Machine for Applier {
    fn apply(
        &self,
        shard: ShardId,
        entries: Vec<CommittedEntry>,
        progress: Progress,
    ) -> Result<Vec<Vec<Bytes>>, ApplyHalt> {
        let mut commit = Commit::start(&self.db, self.db.space(shard)?)?;
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            commit.enter(&entry);
            let mut entry_answers = Vec::with_capacity(entry.commands.len());
            for command in entry.commands {
                commit.take_body(command.body.index, command.body.number, command.body_len);
                let kind = command::decode(command.command).map_err(ApplyHalt::new)?;
                let answer = match dispatch(&mut commit, kind) {
                    Ok(answer) => {
                        commit.finish_command()?;
                        answer
                    }
                    Err(Rejection::Refused(refused)) => {
                        commit.roll_back()?;
                        Answer::Refused(refused)
                    }
                    Err(Rejection::Halt(halt)) => return Err(halt),
                };
                entry_answers.push(command::encode_answer(answer));
            }
            answers.push(entry_answers);
        }
        let mut batch = self.db.batch();
        progress.put(&mut batch);
        let news = commit.write_into(&mut batch);
        self.db.write(batch)?;
        // Only now: whoever is told reads what was written.
        self.notifier.tell(shard, news);
        Ok(answers)
    }
}

fn dispatch(commit: &mut Commit<'_>, kind: Kind) -> Outcome {
    match kind {
        Kind::Accept(command) => spool::accept(commit, command),
        Kind::Settle(command) => settle::settle(commit, command),
        Kind::Retry(command) => spool::retry(commit, &command),
        Kind::AcquireLease(command) => lease::acquire(commit, command),
        Kind::ReleaseLease(command) => lease::release(commit, &command),
        Kind::UploadChunk(command) => upload::chunk(commit, &command),
        Kind::Reap(command) => reap::reap(commit, &command),
        Kind::Deliver(command) => deliver::deliver(commit, command),
        Kind::Append(command) => append::append(commit, command),
        Kind::CreateMailbox(command) => mailbox::create(commit, &command),
        Kind::DeleteMailbox(command) => mailbox::delete(commit, &command),
        Kind::RenameMailbox(command) => mailbox::rename(commit, &command),
        Kind::Subscribe(command) => mailbox::subscribe(commit, &command),
        Kind::StoreFlags(command) => flags::store(commit, &command),
        Kind::Transfer(command) => copy::transfer(commit, &command),
        Kind::Expunge(command) => expunge::expunge(commit, &command),
        Kind::ClaimRecent(command) => mailbox::claim_recent(commit, &command),
        Kind::InitAccount(command) => account::init(commit, command),
        Kind::DropAccount(command) => account::drop(commit, &command),
        Kind::SetCredential(command) => account::set_credential(commit, command),
        Kind::AddDomain(command) => directory::add_domain(commit, &command),
        Kind::RemoveDomain(command) => directory::remove_domain(commit, &command),
        Kind::CreateAccount(command) => directory::create_account(commit, command),
        Kind::ActivateAccount(command) => directory::activate_account(commit, &command),
        Kind::CloseAccount(command) => directory::close_account(commit, &command),
        Kind::ForgetAccount(command) => directory::forget_account(commit, &command),
        Kind::SetAlias(command) => directory::set_alias(commit, command),
        Kind::RemoveAlias(command) => directory::remove_alias(commit, &command),
        Kind::AllocateNode(command) => directory::allocate_node(commit, command),
    }
}

/// A checksum of a shard's logical state, to compare replicas that applied the same entries.
pub(crate) fn checksum(db: &Db, shard: ShardId) -> Result<blake3::Hash, DbError> {
    use crate::model::{Flow, Range, Rows};
    let space = db.space(shard)?;
    let mut hasher = blake3::Hasher::new();
    for family in overlay::FAMILIES {
        hasher.update(family.name().as_bytes());
        let skip = space.key().as_slice().len();
        Rows::visit(
            db,
            family,
            &Range::prefix(space.key()),
            &mut |key, value| {
                for part in [&key[skip..], value] {
                    hasher.update(&(part.len() as u64).to_be_bytes());
                    hasher.update(part);
                }
                Ok(Flow::Continue(()))
            },
        )?;
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests;

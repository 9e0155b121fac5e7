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
mod hold;
mod import;
mod lease;
mod leave;
mod level;
mod mailbox;
mod overlay;
mod placement;
mod reap;
mod relocate;
mod settle;
mod spool;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_types::ShardId;

use crate::checksum::Checksummer;
use crate::command;
use crate::db::{Db, Space};
use crate::levels::{self, Levels};
use crate::notify::Notifier;
use crate::raft::{ApplyHalt, CommittedEntry, Machine, Progress};
use commit::Outcome;
pub(crate) use commit::{Commit, Rejection};

/// The state of every shard of this node.
pub(crate) struct Applier {
    db: Db,
    notifier: Arc<Notifier>,
    checksummer: Arc<Checksummer>,
    levels: Levels,
}

impl Applier {
    /// Keeps state in `db`, of shards of these feature levels, and tells `notifier` what has changed.
    pub(crate) fn new(db: Db, notifier: Arc<Notifier>, levels: Levels) -> Self {
        let checksummer = Arc::new(Checksummer::new(db.clone()));
        Self {
            db,
            notifier,
            checksummer,
            levels,
        }
    }

    /// What computes the checksums of the state.
    pub(crate) fn checksummer(&self) -> Arc<Checksummer> {
        Arc::clone(&self.checksummer)
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
        let last = entries.last();
        let last = last.filter(|last| self.is_last(shard, last));
        let summed_up = last.map(|last| last.index);
        for entry in entries {
            commit.enter(&entry);
            let mut entry_answers = Vec::with_capacity(entry.commands.len());
            for command in entry.commands {
                commit.take_body(command.body.index, command.body.number, command.body_len);
                let kind = command::decode(command.command).map_err(ApplyHalt::new)?;
                let allowed = level::check(&commit, self.levels, &kind);
                let outcome = allowed.and_then(|()| dispatch(&mut commit, kind));
                let answer = match outcome {
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
        if let Some(index) = summed_up {
            self.checksummer.begin(shard, index);
        }
        Ok(answers)
    }

    fn is_last(&self, shard: ShardId, entry: &CommittedEntry) -> bool {
        let mut commands = entry.commands.iter();
        commands.any(|command| command::is_mark(&command.command))
            || self.checksummer.is_awaited(shard, entry.index)
    }

    fn accepts(&self, space: Space) -> Result<(), ApplyHalt> {
        let level = levels::of_space(&self.db, space)?;
        match level.and_then(|level| self.levels.refusal(space.shard(), level)) {
            Some(refusal) => Err(ApplyHalt::new(refusal)),
            None => Ok(()),
        }
    }
}

fn dispatch(commit: &mut Commit<'_>, kind: Kind) -> Outcome {
    match kind {
        Kind::Accept(command) => spool::accept(commit, command),
        Kind::ResolveAccept(command) => spool::resolve_accept(commit, &command),
        Kind::Settle(command) => settle::settle(commit, command),
        Kind::Retry(command) => spool::retry(commit, &command),
        Kind::AcquireLease(command) => lease::acquire(commit, command),
        Kind::ReleaseLease(command) => lease::release(commit, &command),
        Kind::Hold(command) => hold::hold(commit, command),
        Kind::EndHold(command) => hold::end(commit, &command),
        Kind::ReleaseRemote(_) => hold::release_remote(commit),
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
        Kind::OpenImport(command) => import::open(commit, &command),
        Kind::ImportEmail(command) => import::email(commit, command),
        Kind::ImportRows(command) => import::rows(commit, command),
        Kind::FinishImport(command) => import::finish(commit, &command),
        Kind::AbandonImport(command) => import::abandon(commit, &command),
        Kind::CloseForMove(command) => leave::close(commit, &command),
        Kind::LeaveAccount(command) => leave::leave(commit, &command),
        Kind::ReopenAccount(command) => leave::reopen(commit, &command),
        Kind::AddDomain(command) => directory::add_domain(commit, &command),
        Kind::RemoveDomain(command) => directory::remove_domain(commit, &command),
        Kind::CreateAccount(command) => directory::create_account(commit, command),
        Kind::ActivateAccount(command) => directory::activate_account(commit, &command),
        Kind::CloseAccount(command) => directory::close_account(commit, &command),
        Kind::ForgetAccount(command) => directory::forget_account(commit, &command),
        Kind::SetAlias(command) => directory::set_alias(commit, command),
        Kind::RemoveAlias(command) => directory::remove_alias(commit, &command),
        Kind::AllocateNode(command) => directory::allocate_node(commit, command),
        Kind::RecordNode(command) => placement::record_node(commit, command),
        Kind::RecordReplicas(command) => placement::record_replicas(commit, command),
        Kind::BeginMove(command) => placement::begin_move(commit, &command),
        Kind::EndMove(command) => placement::end_move(commit, command),
        Kind::BeginAccountMove(command) => relocate::begin(commit, &command),
        Kind::SwitchAccount(command) => relocate::switch(commit, &command),
        Kind::CallOffAccountMove(command) => relocate::call_off(commit, &command),
        Kind::EndAccountMove(command) => relocate::end(commit, &command),
        Kind::Checksum(_) => level::mark(commit),
        Kind::RaiseLevel(command) => level::raise(commit, &command),
    }
}

#[cfg(test)]
pub(crate) use crate::checksum::rows as checksum;

#[cfg(test)]
mod tests;

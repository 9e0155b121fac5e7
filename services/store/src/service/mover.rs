//! Accounts that move to another shard: what the leader of the control group does about them. Each
//! step can be repeated, and a new leader goes on where the last one stopped.
//!
//! | step                          | by                                    | the account meanwhile      |
//! |-------------------------------|---------------------------------------|----------------------------|
//! | the new shard lets it come    | OpenImport there                      | in use on the old shard    |
//! | emails are copied             | `Transfer/Send`                       | in use on the old shard    |
//! | it is closed                  | CloseForMove                          | whoever asks waits         |
//! | the rest is copied, and ended | `Transfer/Send`, FinishImport         | whoever asks waits         |
//! | it is found on the new shard  | SwitchAccount                         | in use on the new shard    |
//! | both shards are cleared       | LeaveAccount, Reap; FinishImport      | in use; the old shard says where |
//! | it is over                    | EndAccountMove                        | in use                     |
//!
//! A move can be called off until the import is finished: AbandonImport on the new shard, then
//! ReopenAccount on the old one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postino_proto::admin::v1::{AccountMoveProgress, AccountMoveStep};
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::transfer_client::TransferClient;
use postino_proto::store::v1::transfer_server::Transfer;
use postino_proto::store::v1::{
    AbandonImportCommand, AccountMove, CloseForMoveCommand, EndAccountMoveCommand,
    FinishImportCommand, ImportAnswer, LeaveAccountCommand, OpenImportCommand, ReapAnswer,
    ReapCommand, ReopenAccountCommand, SendProgress, SendRequest, SwitchAccountCommand,
};
use postino_types::ShardId;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::Context;
use super::directory::account_entry;
use super::pages::Pages;
use super::transfer::LET_GO;
use crate::db::{DbError, Family, Space};
use crate::model::{Flow, Rows, directory, last_u64};
use crate::raft::{Group, Pacer};
use crate::shards::{broken, unexpected};

/// How often moves are looked for, and one that failed is tried again.
const LOOK: Duration = Duration::from_secs(1);
/// Emails are copied once more while the account is in use unless the last time was quick: what
/// comes meanwhile is what whoever uses the account will wait for.
const QUICK: Duration = Duration::from_secs(1);
/// How often they are copied at most before the account is closed.
const ROUNDS: u32 = 5;

/// What a node knows of accounts that move. How far they are is in memory only.
pub(crate) struct Mover {
    /// Bounds what this node sends.
    pub(super) pacer: Pacer,
    wake: Notify,
    /// Of each account that is being worked on: ends that, so that it is looked at anew.
    interrupts: Mutex<HashMap<u64, CancellationToken>>,
    progress: Mutex<HashMap<u64, Progress>>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    step: AccountMoveStep,
    sent: SendProgress,
    problem: String,
}

impl Mover {
    /// `rate` is in octets per second; 0 is without limit.
    pub(super) fn new(rate: u64) -> Self {
        Self {
            pacer: Pacer::new(rate),
            wake: Notify::new(),
            interrupts: Mutex::default(),
            progress: Mutex::default(),
        }
    }

    fn interrupts(&self) -> MutexGuard<'_, HashMap<u64, CancellationToken>> {
        self.interrupts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done about an account has changed.
    pub(super) fn interrupt(&self, account: u64) {
        if let Some(token) = self.interrupts().get(&account) {
            token.cancel();
        }
        self.wake();
    }

    fn is_at_work(&self, account: u64) -> bool {
        self.interrupts().contains_key(&account)
    }

    fn interruptible(&self, account: u64) -> CancellationToken {
        let token = CancellationToken::new();
        self.interrupts().insert(account, token.clone());
        token
    }

    /// There is something new to move.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, account: u64, step: AccountMoveStep) {
        *self.lock().entry(account).or_default() = Progress {
            step,
            ..Progress::default()
        };
    }

    fn sent(&self, account: u64, sent: SendProgress) {
        let mut progress = self.lock();
        let known = progress.entry(account).or_default();
        known.sent = sent;
        known.problem.clear();
    }

    fn problem(&self, account: u64, problem: String) {
        self.lock().entry(account).or_default().problem = problem;
    }

    fn of(&self, account: u64) -> Progress {
        self.lock().get(&account).cloned().unwrap_or_default()
    }
}

/// Accounts that are moving, the first ones first.
fn under_way(rows: &impl Rows, space: Space) -> Result<Vec<(u64, AccountMove)>, DbError> {
    let mut found = Vec::new();
    let range = directory::sagas(space);
    rows.visit(Family::Directory, &range, &mut |key, _| {
        let id = last_u64(key)?;
        let row = directory::find_account(rows, space, id)?;
        found.extend(row.and_then(|row| row.moving).map(|moving| (id, moving)));
        Ok(Flow::Continue(()))
    })?;
    found.sort_by_key(|(_, moving)| moving.id);
    Ok(found)
}

/// Moves accounts, some at once, as long as this node leads the control group.
pub(crate) async fn conduct(context: &Context) {
    let mover = &context.mover;
    mover.lock().clear();
    mover.interrupts().clear();
    let at_once = usize::try_from(context.config.placement.accounts_at_once).unwrap_or(usize::MAX);
    let mut at_work = JoinSet::new();
    loop {
        let look = context.shards.look(ShardId::CONTROL, |snapshot, space| {
            under_way(snapshot, space).map_err(broken)
        });
        let moves = look.await.unwrap_or_default();
        mover
            .lock()
            .retain(|id, _| moves.iter().any(|(moving, _)| moving == id));
        for (id, _) in moves {
            if at_work.len() < at_once && !mover.is_at_work(id) {
                let (context, interrupted) = (context.clone(), mover.interruptible(id));
                at_work.spawn(async move {
                    tokio::select! {
                        outcome = advance(&context, id) => (id, outcome),
                        () = interrupted.cancelled() => (id, Ok(())),
                    }
                });
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = mover.wake.notified() => {}
            Some(ended) = at_work.join_next() => {
                let Ok((id, outcome)) = ended else { return };
                if let Err(status) = outcome {
                    tracing::info!(account = id, %status, "a move of an account goes on later");
                    mover.problem(id, status.message().to_owned());
                    tokio::time::sleep(LOOK).await;
                }
                mover.interrupts().remove(&id);
            }
        }
    }
}

/// Takes one account through the steps that are left.
async fn advance(context: &Context, id: u64) -> Result<(), Status> {
    let look = context
        .shards
        .look(ShardId::CONTROL, move |snapshot, space| {
            let row = directory::find_account(snapshot, space, id).map_err(broken)?;
            Ok(row.and_then(|row| row.moving))
        });
    let Some(moving) = look.await? else {
        return Ok(());
    };
    if moving.called_off && call_off(context, id, &moving).await? {
        return end(context, id, &moving).await;
    }
    if !moving.switched {
        bring(context, id, &moving).await?;
        let command = SwitchAccountCommand {
            account: id,
            r#move: moving.id,
        };
        propose(
            context,
            ShardId::CONTROL.get(),
            Kind::SwitchAccount(command),
        )
        .await?;
    }
    context.mover.step(id, AccountMoveStep::Clearing);
    let command = LeaveAccountCommand {
        account: id,
        r#move: moving.id,
        to: moving.to,
    };
    propose(context, moving.from, Kind::LeaveAccount(command)).await?;
    clear_away(context, moving.from).await?;
    let_go(context, id, &moving).await?;
    end(context, id, &moving).await?;
    tracing::info!(
        account = id,
        from = moving.from,
        to = moving.to,
        "an account has moved"
    );
    Ok(())
}

/// Has a shard clear away at once what accounts have left there, so that this one can come back.
async fn clear_away(context: &Context, shard: u32) -> Result<(), Status> {
    let command = ReapCommand {
        limit: context.config.reap_page,
        ..ReapCommand::default()
    };
    loop {
        match propose(context, shard, Kind::Reap(command)).await? {
            Answer::Reaped(ReapAnswer { more: true }) => {}
            Answer::Reaped(_) => return Ok(()),
            answer => return unexpected(&answer),
        }
    }
}

/// Has the new shard let go of what it kept for the move alone.
async fn let_go(context: &Context, id: u64, moving: &AccountMove) -> Result<(), Status> {
    let command = FinishImportCommand {
        account: id,
        r#move: moving.id,
        limit: LET_GO,
        ..FinishImportCommand::default()
    };
    loop {
        let kind = Kind::FinishImport(command.clone());
        match propose(context, moving.to, kind).await? {
            Answer::Imported(ImportAnswer { more: true, .. }) => {}
            Answer::Imported(_) => return Ok(()),
            answer => return unexpected(&answer),
        }
    }
}

async fn end(context: &Context, id: u64, moving: &AccountMove) -> Result<(), Status> {
    let command = EndAccountMoveCommand {
        account: id,
        r#move: moving.id,
    };
    propose(
        context,
        ShardId::CONTROL.get(),
        Kind::EndAccountMove(command),
    )
    .await?;
    Ok(())
}

/// Takes back what was done of a move. False if it was too late: then it goes on.
async fn call_off(context: &Context, id: u64, moving: &AccountMove) -> Result<bool, Status> {
    context.mover.step(id, AccountMoveStep::CalledOff);
    let command = AbandonImportCommand {
        account: id,
        r#move: moving.id,
        home: moving.from,
        limit: LET_GO,
    };
    // First, so that the account cannot come there any more when it is opened here.
    loop {
        let kind = Kind::AbandonImport(command);
        match propose(context, moving.to, kind).await? {
            Answer::Imported(ImportAnswer { finished: true, .. }) => return Ok(false),
            Answer::Imported(ImportAnswer { more: true, .. }) => {}
            Answer::Imported(_) => break,
            answer => return unexpected(&answer),
        }
    }
    clear_away(context, moving.to).await?;
    let command = ReopenAccountCommand {
        account: id,
        r#move: moving.id,
    };
    propose(context, moving.from, Kind::ReopenAccount(command)).await?;
    tracing::info!(account = id, "the move of an account is called off");
    Ok(true)
}

/// Brings everything of an account to its new shard.
async fn bring(context: &Context, id: u64, moving: &AccountMove) -> Result<(), Status> {
    let command = OpenImportCommand {
        account: id,
        r#move: moving.id,
    };
    let opened = propose(context, moving.to, Kind::OpenImport(command)).await?;
    match opened {
        Answer::Imported(ImportAnswer { finished: true, .. }) => return Ok(()),
        Answer::Imported(_) => {}
        answer => return unexpected(&answer),
    }
    context.mover.step(id, AccountMoveStep::Emails);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        send(context, id, moving, true).await?;
        if began.elapsed() < QUICK {
            break;
        }
    }
    let command = CloseForMoveCommand {
        account: id,
        r#move: moving.id,
    };
    propose(context, moving.from, Kind::CloseForMove(command)).await?;
    context.mover.step(id, AccountMoveStep::Rows);
    send(context, id, moving, false).await
}

async fn propose(context: &Context, shard: u32, kind: Kind) -> Result<Answer, Status> {
    let shard = ShardId::new(shard);
    Ok(context.shards.propose_anywhere(shard, kind).await?.answer)
}

/// Has the old shard send, and listens how far it is.
async fn send(
    context: &Context,
    id: u64,
    moving: &AccountMove,
    emails_only: bool,
) -> Result<(), Status> {
    let shards = &context.shards;
    let group = shards.group(ShardId::new(moving.from))?;
    let request = SendRequest {
        cluster_id: context.cluster_id()?,
        account: id,
        r#move: moving.id,
        from: moving.from,
        to: moving.to,
        emails_only,
    };
    // Without a deadline: it may take hours.
    let mut stream: Pages<SendProgress> = match group.is_leader() {
        true => Transfer::send(context, Request::new(request))
            .await?
            .into_inner(),
        false => {
            let mut leader = TransferClient::new(shards.leader_channel(&group)?);
            Box::pin(leader.send(request).await?.into_inner())
        }
    };
    while let Some(sent) = stream.next().await.transpose()? {
        context.mover.sent(id, sent);
        if sent.done {
            return Ok(());
        }
    }
    Err(Status::unavailable("the sending shard ended it"))
}

/// The accounts that move, and how far they are.
pub(super) async fn list(
    context: &Context,
    control: &Group,
) -> Result<Vec<AccountMoveProgress>, Status> {
    let moves = context.shards.read(control, |snapshot, space| {
        let mut entries = Vec::new();
        for (id, _) in under_way(snapshot, space).map_err(broken)? {
            entries.extend(account_entry(snapshot, space, id).map_err(broken)?);
        }
        Ok(entries)
    });
    let shown = moves.await?.into_iter().map(|entry| {
        let known = context.mover.of(entry.account);
        let step = match known.step {
            AccountMoveStep::Unspecified => AccountMoveStep::Waiting,
            step => step,
        };
        AccountMoveProgress {
            account: Some(entry),
            step: step.into(),
            emails: known.sent.emails,
            emails_sent: known.sent.emails_sent,
            octets_sent: known.sent.octets_sent,
            rows_sent: known.sent.rows_sent,
            problem: known.problem,
        }
    });
    Ok(shown.collect())
}

//! Accounts that are half made or half removed. Making or removing one spans the control group and
//! the account's shard; each step is a command that can be repeated. Whoever leads the control
//! group completes what it finds.

use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::mail_store_client::MailStoreClient;
use postino_proto::store::v1::{
    Account, AccountEntry, AccountState, ActivateAccountCommand, Credential, DropAccountCommand,
    ForgetAccountCommand, GetCredentialRequest, InitAccountCommand,
};
use postino_proto::{Fault, FaultKind};
use postino_types::ShardId;
use tonic::{Code, Status};

use super::Context;
use crate::db::Family;
use crate::model::directory::{self, AccountRow};
use crate::model::{Flow, Rows, last_u64};
use crate::raft::Group;
use crate::shards::broken;

/// Goes through all accounts that are under way.
pub(super) async fn advance_all(context: &Context) {
    let under_way = context.shards.look(ShardId::CONTROL, |snapshot, space| {
        let mut ids = Vec::new();
        let range = directory::sagas(space);
        let visited = snapshot.visit(Family::Directory, &range, &mut |key, _| {
            ids.push(last_u64(key)?);
            Ok(Flow::Continue(()))
        });
        visited.map_err(broken)?;
        Ok(ids)
    });
    for id in under_way.await.unwrap_or_default() {
        if let Err(status) = advance(context, id).await {
            tracing::info!(account = id, %status, "an account is still under way");
        }
    }
}

/// Whether an account was made by this very request, which is asked again since its answer was
/// lost: no other one has this credential, which has a salt of its own.
pub(super) async fn made_by(
    context: &Context,
    control: &Group,
    entry: &AccountEntry,
    asked: &Credential,
) -> Result<bool, Status> {
    let id = entry.account;
    let row = context.shards.read(control, move |snapshot, space| {
        directory::find_account(snapshot, space, id).map_err(broken)
    });
    let known = match (entry.state(), row.await?.and_then(|row| row.credential)) {
        (_, Some(credential)) => Some(credential),
        (AccountState::Active, None) => credential_of(context, entry).await?,
        (_, None) => None,
    };
    Ok(known.is_some_and(|known| known.password_hash == asked.password_hash))
}

/// The credential of an account that is complete, from its shard.
async fn credential_of(
    context: &Context,
    entry: &AccountEntry,
) -> Result<Option<Credential>, Status> {
    let group = context.shards.group(ShardId::new(entry.shard))?;
    let max = context.shards.max_message();
    let mut leader = MailStoreClient::new(context.shards.leader_channel(&group)?)
        .max_decoding_message_size(max)
        .max_encoding_message_size(max);
    let request = GetCredentialRequest {
        account: Some(Account {
            account: entry.account,
            shard: entry.shard,
        }),
    };
    let request = context.shards.onward(request);
    let response = leader.get_credential(request).await?;
    Ok(response.into_inner().credential)
}

/// What the caller is told when an account is recorded and not complete: it may ask again.
pub(super) fn under_way(entry: &AccountEntry, status: &Status) -> Status {
    tracing::info!(account = entry.account, %status, "an account is still under way");
    let message = format!(
        "the account is recorded and will be complete once shard {} has a leader",
        entry.shard
    );
    Fault::new(FaultKind::Unknown, message).into()
}

/// Takes an account through the steps that are left.
pub(super) async fn advance(context: &Context, id: u64) -> Result<(), Status> {
    let row = context
        .shards
        .look(ShardId::CONTROL, move |snapshot, space| {
            directory::find_account(snapshot, space, id).map_err(broken)
        });
    let Some(row) = row.await? else {
        return Ok(());
    };
    if row.state == i32::from(AccountState::Creating) {
        return create(context, id, row).await;
    }
    if row.state == i32::from(AccountState::Removing) {
        return remove(context, id, ShardId::new(row.shard)).await;
    }
    Ok(())
}

async fn create(context: &Context, id: u64, row: AccountRow) -> Result<(), Status> {
    let shard = ShardId::new(row.shard);
    let init = InitAccountCommand {
        account: id,
        address: row.address,
        credential: row.credential,
        quota_octets: row.quota_octets,
        quota_messages: row.quota_messages,
    };
    context
        .shards
        .propose_anywhere(shard, Kind::InitAccount(init))
        .await?;
    let activate = Kind::ActivateAccount(ActivateAccountCommand { account: id });
    context
        .shards
        .propose_anywhere(ShardId::CONTROL, activate)
        .await?;
    Ok(())
}

async fn remove(context: &Context, id: u64, shard: ShardId) -> Result<(), Status> {
    let drop = Kind::DropAccount(DropAccountCommand { account: id });
    context.shards.propose_anywhere(shard, drop).await?;
    context.reaper.notify_waiters();
    let forget = Kind::ForgetAccount(ForgetAccountCommand { account: id });
    match context
        .shards
        .propose_anywhere(ShardId::CONTROL, forget)
        .await
    {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

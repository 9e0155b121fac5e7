//! Accounts that move to another shard, as the control group records it. The steps in between are
//! taken by `service/mover`; each can be repeated.
//!
//! | from                    | to                      | by                                         |
//! |-------------------------|-------------------------|--------------------------------------------|
//! | on its shard            | moving                  | BeginAccountMove                           |
//! | moving                  | moving, on the new shard| SwitchAccount, after FinishImport there    |
//! | moving, on the new shard| on its shard            | EndAccountMove, after LeaveAccount         |
//! | moving                  | moving, called off      | CallOffAccountMove                         |
//! | moving, called off      | on its shard            | EndAccountMove, after ReopenAccount        |

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    AccountMove, AccountState, BeginAccountMoveCommand, CallOffAccountMoveCommand, Done,
    EndAccountMoveCommand, RefusalKind, SwitchAccountCommand,
};

use super::commit::{Commit, Outcome, refuse};
use super::directory::entry;
use crate::db::Family;
use crate::model::directory::{self, AccountRow};
use crate::model::fixed;

/// Records that an account is to move.
pub(super) fn begin(commit: &mut Commit<'_>, command: &BeginAccountMoveCommand) -> Outcome {
    let missing = || refuse(RefusalKind::NotFound, "there is no such account");
    let address = commit.address(&command.domain, &command.local_part)?;
    let id = address.map_or(0, |address| address.account);
    let mut row = commit.directory_account(id)?.ok_or_else(missing)?;
    if !(1..=command.mail_shards).contains(&command.to) {
        let why = format!("mail shards are 1 to {}", command.mail_shards);
        return Err(refuse(RefusalKind::Invalid, why));
    }
    if row.state != i32::from(AccountState::Active) {
        let why = "the account is being made or removed";
        return Err(refuse(RefusalKind::FailedPrecondition, why));
    }
    match &row.moving {
        Some(known) if known.to == command.to && !known.called_off => return Ok(entry(id, row)),
        Some(known) if known.called_off => {
            let why = "the account's last move was called off a moment ago; try again soon";
            return Err(refuse(RefusalKind::FailedPrecondition, why));
        }
        Some(known) => {
            let why = format!(
                "the account is moving to shard {} already: wait until it is there \
                 (postino account moves)",
                known.to
            );
            return Err(refuse(RefusalKind::FailedPrecondition, why));
        }
        None if row.shard == command.to => return Ok(entry(id, row)),
        None => {}
    }
    let mut control = commit.control()?;
    control.last_account_move += 1;
    row.moving = Some(AccountMove {
        id: control.last_account_move,
        from: row.shard,
        to: command.to,
        started_ms: commit.stamp_ms(),
        switched: false,
        called_off: false,
    });
    let space = commit.space();
    commit.put(Family::Directory, directory::control(space), &control);
    commit.put(Family::Directory, directory::account(space, id), &row);
    commit
        .rows
        .put(Family::Directory, directory::saga(space, id), fixed(&[]));
    Ok(entry(id, row))
}

/// The account's row and its move, which must be this one.
fn moving(commit: &Commit<'_>, id: u64, by: u64) -> Outcome<Option<(AccountRow, AccountMove)>> {
    let row = commit.directory_account(id)?;
    let found = row.and_then(|row| Some((row.clone(), row.moving?)));
    Ok(found.filter(|(_, moving)| moving.id == by))
}

/// The account is on its new shard: that is where it is looked for from now on.
pub(super) fn switch(commit: &mut Commit<'_>, command: &SwitchAccountCommand) -> Outcome {
    let id = command.account;
    let Some((mut row, mut under_way)) = moving(commit, id, command.r#move)? else {
        return Ok(Answer::Done(Done {}));
    };
    if !under_way.switched {
        under_way.switched = true;
        commit.count_load(under_way.from, |count| count.saturating_sub(1))?;
        commit.count_load(under_way.to, |count| count + 1)?;
        row.shard = under_way.to;
        row.moving = Some(under_way);
        let key = directory::account(commit.space(), id);
        commit.put(Family::Directory, key, &row);
    }
    Ok(Answer::Done(Done {}))
}

/// The account is to stay where it is, unless it is on its new shard by now.
pub(super) fn call_off(commit: &mut Commit<'_>, command: &CallOffAccountMoveCommand) -> Outcome {
    let missing = || refuse(RefusalKind::NotFound, "there is no such account");
    let address = commit.address(&command.domain, &command.local_part)?;
    let id = address.map_or(0, |address| address.account);
    let mut row = commit.directory_account(id)?.ok_or_else(missing)?;
    match &mut row.moving {
        Some(moving) if !moving.switched => moving.called_off = true,
        Some(moving) => {
            let why = format!(
                "the account is on shard {} already: move it back once it has left shard {}",
                moving.to, moving.from
            );
            return Err(refuse(RefusalKind::FailedPrecondition, why));
        }
        None => {
            let why = "the account does not move";
            return Err(refuse(RefusalKind::FailedPrecondition, why));
        }
    }
    let key = directory::account(commit.space(), id);
    commit.put(Family::Directory, key, &row);
    Ok(entry(id, row))
}

/// Nothing of the account is left on its old shard; or of the import, on the new one.
pub(super) fn end(commit: &mut Commit<'_>, command: &EndAccountMoveCommand) -> Outcome {
    let id = command.account;
    let Some((mut row, under_way)) = moving(commit, id, command.r#move)? else {
        return Ok(Answer::Done(Done {}));
    };
    if !under_way.switched && !under_way.called_off {
        let why = "the account is not on its new shard yet";
        return Err(refuse(RefusalKind::FailedPrecondition, why));
    }
    row.moving = None;
    let space = commit.space();
    commit.put(Family::Directory, directory::account(space, id), &row);
    commit
        .rows
        .delete(Family::Directory, directory::saga(space, id));
    Ok(Answer::Done(Done {}))
}

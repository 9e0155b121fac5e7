//! An account goes to another shard: the side that it leaves.
//!
//! | the account here | to      | by                                                             |
//! |------------------|---------|----------------------------------------------------------------|
//! | here             | leaving | CloseForMove: neither changed nor read from now on             |
//! | leaving          | moved   | LeaveAccount, once it is on the other shard                    |
//! | leaving, here    | here    | ReopenAccount, if the move is called off                       |
//!
//! In between it belongs to no shard, so that nothing is read here that was changed there.

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    CloseForMoveCommand, Done, LeaveAccountCommand, RefusalKind, ReopenAccountCommand,
};

use super::commit::{Commit, Outcome, Rejection, refuse};
use super::{account as accounts, hold};
use crate::model::account::{self, AccountRow};

/// The account's row, which must be here, closed or not.
fn here(commit: &Commit<'_>, id: u64) -> Outcome<AccountRow> {
    let row = account::row(&commit.rows, commit.space(), id)?;
    let row = row.filter(|row| !row.gone && row.coming == 0);
    row.ok_or_else(|| refuse(RefusalKind::FailedPrecondition, "the account is not here"))
}

fn not_by_this_move() -> Rejection {
    let why = "the account does not leave by this move";
    refuse(RefusalKind::FailedPrecondition, why)
}

/// Closes an account for the moment.
pub(super) fn close(commit: &mut Commit<'_>, command: &CloseForMoveCommand) -> Outcome {
    hold::check(commit)?;
    let (id, by) = (command.account, command.r#move);
    let mut row = here(commit, id)?;
    if row.leaving == by {
        return Ok(Answer::Done(Done {}));
    }
    if row.last_move >= by {
        return Err(not_by_this_move());
    }
    row.leaving = by;
    row.last_move = by;
    commit.put_account(id, &row);
    accounts::touch_all(commit, id)?;
    Ok(Answer::Done(Done {}))
}

/// Opens an account again whose move was called off; that move does not close it any more.
pub(super) fn reopen(commit: &mut Commit<'_>, command: &ReopenAccountCommand) -> Outcome {
    hold::check(commit)?;
    let (id, by) = (command.account, command.r#move);
    let mut row = here(commit, id)?;
    let closed = row.leaving == by;
    if closed || row.last_move < by {
        row.leaving = 0;
        row.last_move = by;
        commit.put_account(id, &row);
    }
    if closed {
        accounts::touch_all(commit, id)?;
    }
    Ok(Answer::Done(Done {}))
}

/// Clears an account away that is on another shard. Its messages go later, by the reaper.
pub(super) fn leave(commit: &mut Commit<'_>, command: &LeaveAccountCommand) -> Outcome {
    hold::check(commit)?;
    let (id, by) = (command.account, command.r#move);
    let row = account::row(&commit.rows, commit.space(), id)?.unwrap_or_default();
    if row.leaving != by {
        // It was done before; or the account has come back by a later move.
        return match row.last_move >= by {
            true => Ok(Answer::Done(Done {})),
            false => Err(not_by_this_move()),
        };
    }
    let gone = AccountRow {
        gone: true,
        moved_to: command.to,
        last_move: by,
        ..AccountRow::default()
    };
    accounts::clear(commit, id, row, &gone)?;
    Ok(Answer::Done(Done {}))
}

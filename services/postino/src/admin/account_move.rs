//! `postino account move` and `postino account moves`.

use std::time::Instant;

use postino_client::AdminClient;
use postino_proto::admin::v1::{
    AccountMoveProgress, AccountMoveStep, CallOffAccountMoveRequest, ListAccountMovesRequest,
    MoveAccountRequest,
};
use serde::Serialize;
use serde_json::json;

use super::cluster::{LOOK, STANDSTILL};
use super::{AdminError, output};

const COLUMNS: [&str; 8] = [
    "address", "from", "to", "step", "emails", "octets", "rows", "problem",
];

#[derive(Serialize)]
struct Row {
    address: String,
    from: u32,
    to: u32,
    step: &'static str,
    /// Sent, of all.
    emails: String,
    octets: u64,
    rows: u64,
    problem: String,
}

/// Begins a move, and waits for its end if that is wished.
pub(crate) async fn begin(
    admin: &AdminClient,
    address: String,
    shard: u32,
    wait: bool,
    json: bool,
) -> Result<(), AdminError> {
    let request = MoveAccountRequest { address, shard };
    let answer = admin.move_account(request).await?;
    let entry = answer.account.unwrap_or_default();
    let address = entry.address;
    if entry.moving.is_some() && wait {
        finish(admin, entry.account, json).await?;
    }
    let sentence = match (&entry.moving, wait) {
        (None, _) => format!("{address} lives on shard {shard}"),
        (Some(moving), true) => {
            format!("{address} has moved from shard {} to {shard}", moving.from)
        }
        (Some(moving), false) => format!(
            "{address} moves from shard {} to {shard}; how far it is: account moves",
            moving.from
        ),
    };
    let result = json!({
        "address": address,
        "shard": shard,
        "moving": entry.moving.is_some() && !wait,
    });
    output::done(json, &sentence, &result);
    Ok(())
}

/// Calls a move off.
pub(crate) async fn call_off(
    admin: &AdminClient,
    address: String,
    json: bool,
) -> Result<(), AdminError> {
    let request = CallOffAccountMoveRequest { address };
    let answer = admin.call_off_account_move(request).await?;
    let entry = answer.account.unwrap_or_default();
    let sentence = format!("{} stays on shard {}", entry.address, entry.shard);
    let result = json!({ "address": entry.address, "shard": entry.shard });
    output::done(json, &sentence, &result);
    Ok(())
}

/// Waits until a move is over, and shows how far it is.
async fn finish(admin: &AdminClient, account: u64, json: bool) -> Result<(), AdminError> {
    let mut last = (String::new(), Instant::now());
    loop {
        let moves = list(admin).await?.into_iter();
        let mut ours = moves.filter(|progress| {
            let entry = progress.account.as_ref();
            entry.is_some_and(|entry| entry.account == account)
        });
        let Some(progress) = ours.next() else {
            return Ok(());
        };
        let row = row(progress);
        let said = format!(
            "{}: {} emails, {} octets, {} rows{}{}",
            row.step,
            row.emails,
            row.octets,
            row.rows,
            if row.problem.is_empty() { "" } else { "; " },
            row.problem
        );
        if said != last.0 {
            if !json {
                eprintln!("{said}");
            }
            last = (said, Instant::now());
        }
        if last.1.elapsed() > STANDSTILL {
            let why = format!("the move stands still; it goes on by itself ({})", last.0);
            return Err(AdminError::Stuck(why));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Shows the accounts that move.
pub(crate) async fn show(admin: &AdminClient, json: bool) -> Result<(), AdminError> {
    let rows: Vec<Row> = list(admin).await?.into_iter().map(row).collect();
    output::rows(json, &COLUMNS, &rows);
    Ok(())
}

/// The same, again and again.
pub(crate) async fn watch(admin: &AdminClient, json: bool) -> Result<(), AdminError> {
    loop {
        show(admin, json).await?;
        tokio::time::sleep(LOOK).await;
    }
}

async fn list(admin: &AdminClient) -> Result<Vec<AccountMoveProgress>, AdminError> {
    let answer = admin.list_account_moves(ListAccountMovesRequest {}).await?;
    Ok(answer.moves)
}

fn row(progress: AccountMoveProgress) -> Row {
    let step = match progress.step() {
        AccountMoveStep::Unspecified | AccountMoveStep::Waiting => "waiting",
        AccountMoveStep::Emails => "emails",
        AccountMoveStep::Rows => "rows",
        AccountMoveStep::Clearing => "clearing",
        AccountMoveStep::CalledOff => "called off",
    };
    let entry = progress.account.unwrap_or_default();
    let moving = entry.moving.unwrap_or_default();
    Row {
        address: entry.address,
        from: moving.from,
        to: moving.to,
        step,
        emails: format!("{}/{}", progress.emails_sent, progress.emails),
        octets: progress.octets_sent,
        rows: progress.rows_sent,
        problem: progress.problem,
    }
}

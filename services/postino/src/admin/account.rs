//! `postino account`.

use postino_client::AdminClient;
use postino_client::credential::Params;
use postino_proto::admin::v1::{
    AddAccountRequest, ListAccountsRequest, RemoveAccountRequest, SetPasswordRequest,
};
use postino_proto::store::v1::{AccountEntry, AccountState};
use postino_types::Secret;
use serde::Serialize;
use serde_json::json;

use super::{AdminError, account_move, import, output, password};
use crate::cli::{AccountAction, Target};

/// Accounts asked for at once.
const PAGE: u32 = 1000;

#[derive(Serialize)]
struct Row {
    address: String,
    account: u64,
    shard: u32,
    state: &'static str,
}

pub(crate) async fn run(action: AccountAction, target: Target) -> Result<(), AdminError> {
    let admin = target.admin()?;
    match action {
        // A password never stands on a command line; --password-stdin says what is done anyway.
        AccountAction::Add {
            address,
            password_stdin: _,
        } => {
            let password = password::from_stdin()?;
            add(&admin, &address, password, &password::params(&admin).await?).await?;
            let sentence = format!("added {address}");
            output::done(target.json, &sentence, &json!({ "address": address }));
        }
        AccountAction::List { domain } => {
            let rows = list(&admin, domain.unwrap_or_default()).await?;
            output::rows(
                target.json,
                &["address", "account", "shard", "state"],
                &rows,
            );
        }
        AccountAction::Remove { address } => {
            admin
                .remove_account(RemoveAccountRequest {
                    address: address.clone(),
                })
                .await?;
            let sentence = format!("removed {address}");
            output::done(target.json, &sentence, &json!({ "address": address }));
        }
        AccountAction::Passwd {
            address,
            password_stdin: _,
        } => {
            let password = password::from_stdin()?;
            let params = password::params(&admin).await?;
            let credential = password::credential(password, &params).await?;
            let request = SetPasswordRequest {
                address: address.clone(),
                credential: Some(credential),
            };
            admin.set_password(request).await?;
            let sentence = format!("{address} has a new password");
            output::done(target.json, &sentence, &json!({ "address": address }));
        }
        AccountAction::Move {
            address,
            to: Some(shard),
            wait,
            ..
        } => account_move::begin(&admin, address, shard, wait, target.json).await?,
        AccountAction::Move { address, .. } => {
            account_move::call_off(&admin, address, target.json).await?;
        }
        AccountAction::Moves { watch: false } => account_move::show(&admin, target.json).await?,
        AccountAction::Moves { watch: true } => account_move::watch(&admin, target.json).await?,
        AccountAction::Import { file } => import::run(&admin, &file, target.json).await?,
    }
    Ok(())
}

/// Adds one account with a password.
pub(crate) async fn add(
    admin: &AdminClient,
    address: &str,
    password: Secret,
    params: &Params,
) -> Result<(), AdminError> {
    let credential = Some(password::credential(password, params).await?);
    admin
        .add_account(AddAccountRequest {
            address: address.into(),
            credential,
        })
        .await?;
    Ok(())
}

async fn list(admin: &AdminClient, domain: String) -> Result<Vec<Row>, AdminError> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after_address = rows
            .last()
            .map(|row| row.address.clone())
            .unwrap_or_default();
        let request = ListAccountsRequest {
            after_address,
            limit: PAGE,
            domain: domain.clone(),
        };
        let page = admin.list_accounts(request).await?;
        let empty = page.accounts.is_empty();
        rows.extend(page.accounts.into_iter().map(row));
        if empty || !page.more {
            return Ok(rows);
        }
    }
}

fn row(entry: AccountEntry) -> Row {
    let state = match entry.state() {
        _ if entry.moving.is_some() => "moving",
        AccountState::Unspecified | AccountState::Active => "active",
        AccountState::Creating => "creating",
        AccountState::Removing => "removing",
    };
    Row {
        address: entry.address,
        account: entry.account,
        shard: entry.shard,
        state,
    }
}

//! `postino alias`.

use postino_proto::admin::v1::{AddAliasRequest, ListAliasesRequest, RemoveAliasRequest};
use serde::Serialize;

use super::{AdminError, output};
use crate::cli::{AliasAction, Target};

#[derive(Serialize)]
struct Row {
    address: String,
    targets: Vec<String>,
}

pub(crate) async fn run(action: AliasAction, target: Target) -> Result<(), AdminError> {
    let admin = target.admin()?;
    match action {
        AliasAction::Add { address, targets } => {
            let row = Row {
                address: address.clone(),
                targets: targets.clone(),
            };
            admin
                .add_alias(AddAliasRequest { address, targets })
                .await?;
            let sentence = format!("{} leads to {}", row.address, row.targets.join(", "));
            output::done(target.json, &sentence, &row);
        }
        AliasAction::List => {
            let answer = admin.list_aliases(ListAliasesRequest {}).await?;
            let row = |alias: postino_proto::store::v1::AliasEntry| Row {
                address: alias.address,
                targets: alias.targets,
            };
            let rows: Vec<Row> = answer.aliases.into_iter().map(row).collect();
            output::rows(target.json, &["address", "targets"], &rows);
        }
        AliasAction::Remove { address } => {
            admin
                .remove_alias(RemoveAliasRequest {
                    address: address.clone(),
                })
                .await?;
            let sentence = format!("removed {address}");
            output::done(
                target.json,
                &sentence,
                &serde_json::json!({ "address": address }),
            );
        }
    }
    Ok(())
}

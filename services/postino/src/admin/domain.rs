//! `postino domain`.

use postino_proto::admin::v1::{AddDomainRequest, ListDomainsRequest, RemoveDomainRequest};
use serde::Serialize;

use super::{AdminError, output};
use crate::cli::{DomainAction, Target};

#[derive(Serialize)]
struct Row {
    domain: String,
}

pub(crate) async fn run(action: DomainAction, target: Target) -> Result<(), AdminError> {
    let admin = target.admin()?;
    match action {
        DomainAction::Add { domain } => {
            admin
                .add_domain(AddDomainRequest {
                    domain: domain.clone(),
                })
                .await?;
            output::done(target.json, &format!("added {domain}"), &Row { domain });
        }
        DomainAction::List => {
            let answer = admin.list_domains(ListDomainsRequest {}).await?;
            let rows: Vec<Row> = answer
                .domains
                .into_iter()
                .map(|domain| Row { domain })
                .collect();
            output::rows(target.json, &["domain"], &rows);
        }
        DomainAction::Remove { domain } => {
            admin
                .remove_domain(RemoveDomainRequest {
                    domain: domain.clone(),
                })
                .await?;
            output::done(target.json, &format!("removed {domain}"), &Row { domain });
        }
    }
    Ok(())
}

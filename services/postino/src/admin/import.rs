//! `postino account import`: accounts from a CSV file.

use std::path::Path;

use futures::StreamExt;
use postino_client::AdminClient;
use postino_types::Secret;
use serde_json::json;

use super::{AdminError, account, output, password};

/// Accounts that are being added at once: hashing takes a core each.
const AT_ONCE: usize = 8;

/// Adds each account of the file. What is wrong with a line is told with its number; the other
/// lines are done all the same, and then the command is refused. It can be repeated: an account
/// that exists is one of those errors.
pub(crate) async fn run(admin: &AdminClient, file: &Path, json: bool) -> Result<(), AdminError> {
    let entries = read(file)?;
    let total = entries.len();
    let params = &password::params(admin).await?;
    let add = |(line, address, password): (u64, String, Secret)| async move {
        let added = account::add(admin, &address, password, params).await;
        added.map_err(|error| format!("line {line}: {address}: {error}"))
    };
    let results: Vec<Result<(), String>> = futures::stream::iter(entries)
        .map(add)
        .buffered(AT_ONCE)
        .collect()
        .await;
    let refused: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    let added = total - refused.len();
    if refused.is_empty() {
        output::done(
            json,
            &format!("added {added} accounts"),
            &json!({ "added": added }),
        );
        return Ok(());
    }
    let lines = refused.join("\n");
    Err(AdminError::Input(format!(
        "added {added} of {total} accounts\n{lines}"
    )))
}

/// The lines of address,password with their numbers. A header line is left out.
fn read(file: &Path) -> Result<Vec<(u64, String, Secret)>, AdminError> {
    let wrong =
        |error: &dyn std::fmt::Display| AdminError::Input(format!("{}: {error}", file.display()));
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).trim(csv::Trim::Fields);
    let mut reader = reader.from_path(file).map_err(|error| wrong(&error))?;
    let mut entries = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| wrong(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        match (record.get(0), record.get(1), record.len()) {
            (Some("address"), Some("password"), 2) if entries.is_empty() => {}
            (Some(address), Some(password), 2) => {
                entries.push((line, address.to_owned(), Secret::new(password)));
            }
            _ => return Err(wrong(&format!("line {line} is not address,password"))),
        }
    }
    Ok(entries)
}

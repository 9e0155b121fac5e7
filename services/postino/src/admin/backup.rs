//! `postino backup` and `postino restore`.

use std::path::Path;

use postino_store::backup::{self, BackupError, Manifest, Tell};
use serde_json::json;

use super::{AdminError, output};
use crate::cli::{BackupAction, Target};

/// Progress goes to standard error, a line at a time.
static TELL: &Tell = &|line: &str| eprintln!("postino: {line}");

pub(crate) async fn run(action: BackupAction, target: Target) -> Result<(), AdminError> {
    match action {
        BackupAction::Create {
            directory,
            incremental,
        } => {
            let endpoint = target.endpoint()?;
            let earlier = incremental.as_deref();
            let manifest = backup::create(&endpoint, &directory, earlier, TELL).await?;
            report(&target, "holds a backup", &directory, &manifest);
        }
        BackupAction::Verify { directory } => {
            let manifest = backup::verify(&directory, TELL).await?;
            report(&target, "holds a whole backup", &directory, &manifest);
        }
    }
    Ok(())
}

fn report(target: &Target, what: &str, directory: &Path, manifest: &Manifest) {
    let (rows, bytes) = manifest.total();
    let earlier = manifest.earlier_bytes();
    let and_earlier = match earlier {
        0 => String::new(),
        earlier => format!(", and {earlier} bytes of earlier backups"),
    };
    let sentence = format!(
        "{} {what} of cluster {}: {} mail shards, {rows} rows, {bytes} bytes{and_earlier}",
        directory.display(),
        manifest.cluster,
        manifest.shard_count
    );
    let result = json!({
        "directory": directory,
        "cluster": manifest.cluster,
        "taken_ms": manifest.taken_ms,
        "mail_shards": manifest.shard_count,
        "rows": rows,
        "bytes": bytes,
        "earlier_bytes": earlier,
    });
    output::done(target.json, &sentence, &result);
}

pub(crate) async fn restore(
    directory: &Path,
    nodes: Vec<String>,
    target: Target,
) -> Result<(), AdminError> {
    let mut members = vec![target.endpoint()?];
    members.extend(nodes);
    let cluster: Result<String, BackupError> = backup::restore(directory, &members, TELL).await;
    let cluster = cluster?;
    let sentence = format!(
        "cluster {cluster} is restored, with {} nodes; nothing leaves for other servers until: \
         postino queue release",
        members.len()
    );
    let result = json!({ "cluster": cluster, "nodes": members, "remote_held": true });
    output::done(target.json, &sentence, &result);
    Ok(())
}

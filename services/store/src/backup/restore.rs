//! Restoring: an empty node becomes the first one of a new cluster that has the backup's state.

use std::path::{Path, PathBuf};

use postino_client::Channels;
use postino_config::GrpcConfig;
use postino_proto::admin::v1::restore_step::Step;
use postino_proto::admin::v1::{RestoreBegin, RestoreFinish, RestoreStep};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::file::Reader;
use super::manifest::Manifest;
use super::verify::verify;
use super::{BackupError, Tell, client, identity_of};
use crate::cluster::form;
use crate::identity::ClusterId;

/// Steps read ahead.
const AHEAD: usize = 2;

/// Verifies the backup in `directory`, and makes a new cluster of the nodes at `members` that begins
/// with it; the first one, which must belong to no cluster, takes the state in, and the others get
/// it as any node does. Returns the new cluster's id, in hexadecimal digits.
pub async fn restore(
    directory: &Path,
    members: &[String],
    tell: &'static Tell,
) -> Result<String, BackupError> {
    let Some((first, others)) = members.split_first() else {
        return Err(BackupError::Refused("no node is named".to_owned()));
    };
    // Before anything is read: this is known at once.
    check_empty(first).await?;
    let manifest = verify(directory, tell).await?;
    let id = send(directory, &manifest, first, tell).await?;
    tell(&format!("{first} is the first node of cluster {id}"));
    if !others.is_empty() {
        form(members, 0).await.map_err(BackupError::node(
            "the first node is restored, but another one could not be taken in; repeat that with \
             postino cluster init",
        ))?;
    }
    Ok(id)
}

async fn check_empty(endpoint: &str) -> Result<(), BackupError> {
    let channels = Channels::new(GrpcConfig::default());
    match identity_of(&channels, endpoint).await? {
        None => Ok(()),
        Some(identity) => Err(BackupError::Refused(format!(
            "{endpoint} belongs to cluster {} already; restore into a store that was started on an \
             empty data directory and is in no cluster (postino serve --roles store …)",
            identity.cluster
        ))),
    }
}

async fn send(
    directory: &Path,
    manifest: &Manifest,
    endpoint: &str,
    tell: &'static Tell,
) -> Result<String, BackupError> {
    let channels = Channels::new(GrpcConfig::default());
    let node = client(&channels, endpoint);
    let mut node = node.map_err(BackupError::node(endpoint))?;
    let (steps, sent) = mpsc::channel(AHEAD);
    let files = manifest.shards.iter();
    let files = files.map(|file| (file.shard, file.path(directory)));
    let files: Vec<(u32, PathBuf)> = files.collect();
    let shard_count = manifest.shard_count;
    let reading = tokio::task::spawn_blocking(move || read(&files, shard_count, &steps, tell));
    let answer = node.restore(ReceiverStream::new(sent)).await;
    // If the files could not be read, the node only knows that the stream ended.
    reading.await.map_err(BackupError::broken)??;
    let answer = answer.map_err(BackupError::node(endpoint))?;
    let id = ClusterId::from_bytes(&answer.into_inner().cluster_id);
    let id = id.map_err(|error| BackupError::Refused(format!("{endpoint}: {error}")))?;
    Ok(id.to_string())
}

/// Sends all files; ends early, without an error, when nobody takes the steps any more.
fn read(
    files: &[(u32, PathBuf)],
    shard_count: u32,
    steps: &mpsc::Sender<RestoreStep>,
    tell: &Tell,
) -> Result<(), BackupError> {
    let send = |step| steps.blocking_send(RestoreStep { step: Some(step) });
    if send(Step::Begin(RestoreBegin { shard_count })).is_err() {
        return Ok(());
    }
    for (shard, path) in files {
        let mut file = Reader::open(path)?;
        while let Some(part) = file.next()? {
            if send(Step::Part(part)).is_err() {
                return Ok(());
            }
        }
        tell(&format!("shard {shard} is sent"));
    }
    let _ = send(Step::Finish(RestoreFinish {}));
    Ok(())
}

//! Restoring: an empty node becomes the first one of a new cluster that has the backup's state.

use std::path::Path;

use postino_client::Channels;
use postino_config::GrpcConfig;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::manifest::Manifest;
use super::verify::verify;
use super::{BackupError, Tell, client, identity_of, reading};
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
    let (directory, manifest) = (directory.to_owned(), manifest.clone());
    let reading = move || reading::send_all(&directory, &manifest, &steps, tell);
    let reading = tokio::task::spawn_blocking(reading);
    let answer = node.restore(ReceiverStream::new(sent)).await;
    // If the files could not be read, the node only knows that the stream ended.
    reading.await.map_err(BackupError::broken)??;
    let answer = answer.map_err(BackupError::node(endpoint))?;
    let id = ClusterId::from_bytes(&answer.into_inner().cluster_id);
    let id = id.map_err(|error| BackupError::Refused(format!("{endpoint}: {error}")))?;
    Ok(id.to_string())
}

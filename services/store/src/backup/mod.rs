//! Backups: all shards as files, and files as the shards of a new cluster.
//!
//! A backup is a directory: a file per shard with all its rows at one log index (`file`), and a
//! manifest, written last, that says what each file must be (`manifest`). [`create`] cuts the shards
//! of a running cluster and reads them; how the cuts fit together is in `apply/hold.rs`. [`verify`]
//! reads everything back, and looks for each body that a row refers to (`references`). [`restore`]
//! streams the files to an empty node, which makes them its shards (`renew` says what changes on the
//! way), becomes the first node of a new cluster, and takes others in as any node does.
//!
//! Bodies never change, and the log entry that brought one names it for ever. So an incremental backup
//! leaves out those of entries that an earlier backup of the cluster includes, and has the earlier
//! files itself, as links where the file system can: each directory stands for itself (`rows`).
//!
//! The number of shards comes from the backup: queue-ids name the shard of their letter, the
//! directory that of an account. The number of nodes is free, since shards move between nodes.

mod create;
mod earlier;
mod error;
mod file;
mod manifest;
mod reading;
mod references;
mod renew;
mod restore;
mod rows;
mod verify;

pub use create::create;
pub use error::BackupError;
pub use manifest::{Manifest, ShardFile};
pub(crate) use renew::Renewal;
pub use restore::restore;
pub use verify::verify;

use std::time::Duration;

use postino_client::{Channel, Channels};
use postino_proto::admin::v1::backup_client::BackupClient;
use postino_proto::cluster::v1::StatusRequest;
use postino_proto::cluster::v1::cluster_client::ClusterClient;
use tonic::{Request, Status};

use crate::identity::Identity;

/// How long a call may take; a shard that elects its leader is waited for.
const ANSWER: Duration = Duration::from_secs(15);

/// Where progress is told, a line at a time.
pub type Tell = dyn Fn(&str) + Send + Sync;

/// The backup service of the node at `endpoint`.
fn client(channels: &Channels, endpoint: &str) -> Result<BackupClient<Channel>, Status> {
    let channel = channels.get(endpoint);
    let channel = channel.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let max = channels.max_message();
    Ok(BackupClient::new(channel)
        .max_decoding_message_size(max)
        .max_encoding_message_size(max))
}

/// A call that is not waited for without end.
fn asked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER);
    request
}

/// Who the node at `endpoint` is; `None` if it belongs to no cluster.
async fn identity_of(channels: &Channels, endpoint: &str) -> Result<Option<Identity>, BackupError> {
    let refused = |why: String| BackupError::Refused(format!("{endpoint}: {why}"));
    let channel = channels.get(endpoint);
    let channel = channel.map_err(|error| refused(error.to_string()))?;
    let mut node = ClusterClient::new(channel).max_decoding_message_size(channels.max_message());
    let status = node.status(asked(StatusRequest {})).await;
    let status = status.map_err(BackupError::node(endpoint))?.into_inner();
    let identity = status.identity.as_ref().map(Identity::try_from);
    identity
        .transpose()
        .map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests;

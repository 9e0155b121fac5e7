//! Taking a backup: all shards are cut while local outcomes are held, then read one after another.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use postino_client::Channels;
use postino_config::GrpcConfig;
use postino_proto::admin::v1::read_step::{Go, Open, Step};
use postino_proto::admin::v1::shard_part::Part;
use postino_proto::admin::v1::{EndHoldRequest, HoldRequest, ReadStep, ShardHead, ShardPart};
use postino_proto::{Fault, FaultKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::file::Writer;
use super::manifest::{self, Manifest, ShardFile};
use super::{ANSWER, BackupError, Tell, asked, client, identity_of};
use crate::identity::{ClusterId, Identity};
use crate::service::now_ms;

/// How often a cut is tried that did not come about: a lead may have moved meanwhile.
const CUTS: u32 = 5;
/// The pause between two.
const PAUSE: Duration = Duration::from_secs(1);
/// How long nothing may come from a shard that is read.
const SILENCE: Duration = Duration::from_secs(120);
/// Shards opened at once.
const OPENED_AT_ONCE: usize = 16;

/// Takes a backup of the cluster of the store node at `endpoint` into `directory`, which must be
/// empty or not be there. What it has written when it ends is on disk for good.
pub async fn create(
    endpoint: &str,
    directory: &Path,
    tell: &Tell,
) -> Result<Manifest, BackupError> {
    make_empty(directory)?;
    let channels = Channels::new(GrpcConfig::default());
    let identity = identity_of(&channels, endpoint).await?;
    let nothing = || format!("{endpoint} belongs to no cluster: nothing to back up");
    let identity = identity.ok_or_else(|| BackupError::Refused(nothing()))?;
    let (cuts, taken_ms) = cut_all(&channels, endpoint, &identity, tell).await?;
    tell(&format!("{} shards are cut", cuts.len()));
    let written = write_all(cuts, directory, tell).await;
    if written.is_err() {
        // It was empty: what is there now is ours, and of no use.
        for shard in 0..=identity.shard_count {
            let _ = fs::remove_file(directory.join(ShardFile::name(shard)));
        }
    }
    let manifest = Manifest::new(identity.cluster.to_string(), taken_ms, written?);
    manifest.write(directory)?;
    Ok(manifest)
}

/// Reads the shards, one after another.
async fn write_all(
    cuts: Vec<Cut>,
    directory: &Path,
    tell: &Tell,
) -> Result<Vec<ShardFile>, BackupError> {
    let mut files = Vec::with_capacity(cuts.len());
    for cut in cuts {
        let file = cut.write(directory).await?;
        tell(&format!(
            "shard {}: {} rows, {} bytes",
            file.shard, file.rows, file.bytes
        ));
        files.push(file);
    }
    Ok(files)
}

fn make_empty(directory: &Path) -> Result<(), BackupError> {
    let io = || BackupError::io(directory);
    fs::create_dir_all(directory).map_err(io())?;
    if fs::read_dir(directory).map_err(io())?.next().is_some() {
        return Err(BackupError::Refused(format!(
            "{} is not empty; name a directory that is, or is not there",
            directory.display()
        )));
    }
    // The directory itself must not get lost either.
    match directory.canonicalize().map_err(io())?.parent() {
        Some(parent) => manifest::sync(parent),
        None => Ok(()),
    }
}

/// A shard that was cut, and waits to be read.
struct Cut {
    head: ShardHead,
    steps: mpsc::Sender<ReadStep>,
    parts: Streaming<ShardPart>,
    /// Which the parts come on: stays open for as long.
    _connection: Channels,
}

/// Cuts all shards; tries again if that does not come about.
async fn cut_all(
    channels: &Channels,
    endpoint: &str,
    identity: &Identity,
    tell: &Tell,
) -> Result<(Vec<Cut>, u64), BackupError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match cut_once(channels, endpoint, identity).await {
            Ok(cuts) => return Ok(cuts),
            Err(status) if tries < CUTS => {
                tell(&format!(
                    "the shards could not be cut ({}), once more",
                    status.message()
                ));
                sleep(PAUSE * tries).await;
            }
            Err(status) => return Err(BackupError::node("the shards could not be cut")(status)),
        }
    }
}

async fn cut_once(
    channels: &Channels,
    endpoint: &str,
    identity: &Identity,
) -> Result<(Vec<Cut>, u64), Status> {
    let name = ClusterId::random().map_err(|error| Status::internal(error.to_string()))?;
    let mut node = client(channels, endpoint)?;
    let hold = HoldRequest {
        cut: name.to_string(),
    };
    let held = node.hold(asked(hold)).await;
    let cuts = match held {
        Ok(_) => open_all(channels, endpoint, identity).await,
        Err(status) => Err(status),
    };
    let taken_ms = now_ms();
    // Also after a failure, so that nothing is held for longer than it must be.
    let end = EndHoldRequest {
        cut: name.to_string(),
    };
    let ended = node.end_hold(asked(end)).await;
    let cuts = cuts?;
    ended?;
    Ok((cuts, taken_ms))
}

/// The control group first: an account that it says is there is then there on its shard, since no
/// account goes during the hold.
async fn open_all(
    channels: &Channels,
    endpoint: &str,
    identity: &Identity,
) -> Result<Vec<Cut>, Status> {
    let open = |shard| open(channels, endpoint, shard);
    let mut cuts = vec![open(0).await?];
    let mail: Vec<Cut> = stream::iter((1..=identity.shard_count).map(open))
        .buffered(OPENED_AT_ONCE)
        .try_collect()
        .await?;
    cuts.extend(mail);
    let of_this = |cut: &Cut| {
        cut.head.cluster_id == identity.cluster.to_bytes()
            && cut.head.shard_count == identity.shard_count
    };
    match cuts.iter().all(of_this) {
        true => Ok(cuts),
        false => Err(Status::aborted("a node is of another cluster")),
    }
}

/// Opens the cut of a shard, wherever that is led.
async fn open(channels: &Channels, endpoint: &str, shard: u32) -> Result<Cut, Status> {
    let deadline = Instant::now() + ANSWER;
    let mut at = endpoint.to_owned();
    loop {
        let opened = timeout(ANSWER, open_at(channels, &at, shard)).await;
        let late = || Status::deadline_exceeded(format!("shard {shard} does not answer"));
        let status = match opened.unwrap_or_else(|_| Err(late())) {
            Ok(cut) => return Ok(cut),
            Err(status) => status,
        };
        if Instant::now() >= deadline {
            return Err(status);
        }
        match Fault::of(&status) {
            Some(Fault {
                kind: FaultKind::NotLeader,
                leader,
                ..
            }) => {
                if leader.is_none() {
                    sleep(Duration::from_millis(100)).await;
                }
                at = leader.unwrap_or_else(|| endpoint.to_owned());
            }
            _ => return Err(status),
        }
    }
}

async fn open_at(channels: &Channels, endpoint: &str, shard: u32) -> Result<Cut, Status> {
    let (steps, asked) = mpsc::channel(2);
    let open = ReadStep {
        step: Some(Step::Open(Open { shard })),
    };
    let gone = |_| Status::cancelled("nobody takes the request");
    steps.send(open).await.map_err(gone)?;
    let mut node = client(channels, endpoint)?;
    let mut parts = node.read(ReceiverStream::new(asked)).await?.into_inner();
    match parts.message().await?.and_then(|part| part.part) {
        Some(Part::Head(head)) if head.shard == shard => Ok(Cut {
            head,
            steps,
            parts,
            _connection: channels.clone(),
        }),
        _ => Err(Status::internal("a shard came without its head")),
    }
}

impl Cut {
    /// Reads the shard into its file.
    async fn write(mut self, directory: &Path) -> Result<ShardFile, BackupError> {
        let (shard, term, index) = (self.head.shard, self.head.term, self.head.index);
        let what = || format!("shard {shard}");
        let name = ShardFile::name(shard);
        let mut writer = Writer::create(directory.join(&name))?;
        writer.write(&ShardPart {
            part: Some(Part::Head(self.head)),
        })?;
        let go = ReadStep {
            step: Some(Step::Go(Go {})),
        };
        // If nobody takes it, the stream says why.
        let _ = self.steps.send(go).await;
        let broke_off = || BackupError::node(what())(Status::aborted("it broke off"));
        let rows = loop {
            let part = timeout(SILENCE, self.parts.message()).await;
            let part = part.map_err(|_| broke_off())?;
            let part = part.map_err(BackupError::node(what()))?;
            let part = part.ok_or_else(broke_off)?;
            // Files are written from here: what waits meanwhile is bounded by the stream.
            tokio::task::block_in_place(|| writer.write(&part))?;
            match part.part {
                Some(Part::Rows(_)) => {}
                Some(Part::End(end)) => break end.rows,
                Some(Part::Head(_)) | None => return Err(broke_off()),
            }
        };
        let written = tokio::task::block_in_place(|| writer.finish())?;
        Ok(ShardFile {
            shard,
            file: name,
            term,
            index,
            rows,
            bytes: written.bytes,
            blake3: written.blake3,
        })
    }
}

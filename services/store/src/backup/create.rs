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

use super::earlier::Earlier;
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
/// empty or not be there. With `earlier`, the directory of a backup of the same cluster, only bodies
/// that came since are read, and the earlier files are linked or copied. What it has written when it
/// ends is on disk for good.
pub async fn create(
    endpoint: &str,
    directory: &Path,
    earlier: Option<&Path>,
    tell: &Tell,
) -> Result<Manifest, BackupError> {
    let earlier = earlier.map(Earlier::read).transpose()?;
    make_empty(directory)?;
    let channels = Channels::new(GrpcConfig::default());
    let identity = identity_of(&channels, endpoint).await?;
    let nothing = || format!("{endpoint} belongs to no cluster: nothing to back up");
    let identity = identity.ok_or_else(|| BackupError::Refused(nothing()))?;
    if let Some(earlier) = &earlier {
        earlier.check(&identity)?;
    }
    let cluster = Running {
        channels,
        endpoint,
        identity: &identity,
        earlier: earlier.as_ref(),
    };
    let (cuts, taken_ms) = cluster.cut_all(tell).await?;
    tell(&format!("{} shards are cut", cuts.len()));
    let written = write_all(cuts, directory, earlier.as_ref(), tell).await;
    if written.is_err() {
        empty(directory);
    }
    let manifest = Manifest::new(identity.cluster.to_string(), taken_ms, written?);
    manifest.write(directory)?;
    Ok(manifest)
}

/// Reads the shards, one after another.
async fn write_all(
    cuts: Vec<Cut>,
    directory: &Path,
    earlier: Option<&Earlier>,
    tell: &Tell,
) -> Result<Vec<ShardFile>, BackupError> {
    let mut files = Vec::with_capacity(cuts.len());
    for cut in cuts {
        let mut file = cut.write(directory).await?;
        // A node of an earlier build leaves nothing out.
        if let Some(earlier) = earlier.filter(|_| file.bodies_after > 0) {
            let taken = || earlier.take(file.shard, directory);
            file.earlier = tokio::task::block_in_place(taken)?;
        }
        tell(&format!(
            "shard {}: {} rows, {} bytes",
            file.shard, file.rows, file.bytes
        ));
        files.push(file);
    }
    Ok(files)
}

/// Removes what a backup has written so far: the directory was empty, and it is of no use.
fn empty(directory: &Path) {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    for file in files {
        let _ = fs::remove_file(file.path());
    }
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

/// The cluster that a backup is taken of.
struct Running<'a> {
    channels: Channels,
    endpoint: &'a str,
    identity: &'a Identity,
    earlier: Option<&'a Earlier>,
}

impl Running<'_> {
    /// Cuts all shards; tries again if that does not come about.
    async fn cut_all(&self, tell: &Tell) -> Result<(Vec<Cut>, u64), BackupError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.cut_once().await {
                Ok(cuts) => return Ok(cuts),
                Err(status) if tries < CUTS => {
                    tell(&format!(
                        "the shards could not be cut ({}), once more",
                        status.message()
                    ));
                    sleep(PAUSE * tries).await;
                }
                Err(status) => {
                    return Err(BackupError::node("the shards could not be cut")(status));
                }
            }
        }
    }

    async fn cut_once(&self) -> Result<(Vec<Cut>, u64), Status> {
        let name = ClusterId::random().map_err(|error| Status::internal(error.to_string()))?;
        let mut node = client(&self.channels, self.endpoint)?;
        let hold = HoldRequest {
            cut: name.to_string(),
        };
        let held = node.hold(asked(hold)).await;
        let cuts = match held {
            Ok(_) => self.open_all().await,
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
    async fn open_all(&self) -> Result<Vec<Cut>, Status> {
        let mut cuts = vec![self.open(0).await?];
        let mail = (1..=self.identity.shard_count).map(|shard| self.open(shard));
        let mail: Vec<Cut> = stream::iter(mail)
            .buffered(OPENED_AT_ONCE)
            .try_collect()
            .await?;
        cuts.extend(mail);
        let of_this = |cut: &Cut| {
            cut.head.cluster_id == self.identity.cluster.to_bytes()
                && cut.head.shard_count == self.identity.shard_count
        };
        match cuts.iter().all(of_this) {
            true => Ok(cuts),
            false => Err(Status::aborted("a node is of another cluster")),
        }
    }

    /// Opens the cut of a shard, wherever that is led.
    async fn open(&self, shard: u32) -> Result<Cut, Status> {
        let deadline = Instant::now() + ANSWER;
        let mut at = self.endpoint.to_owned();
        let open = Open {
            shard,
            bodies_after: self.earlier.map_or(0, |earlier| earlier.index(shard)),
        };
        loop {
            let opened = timeout(ANSWER, open_at(&self.channels, &at, open)).await;
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
                    at = leader.unwrap_or_else(|| self.endpoint.to_owned());
                }
                _ => return Err(status),
            }
        }
    }
}

async fn open_at(channels: &Channels, endpoint: &str, open: Open) -> Result<Cut, Status> {
    let (steps, asked) = mpsc::channel(2);
    let step = ReadStep {
        step: Some(Step::Open(open)),
    };
    let gone = |_| Status::cancelled("nobody takes the request");
    steps.send(step).await.map_err(gone)?;
    let mut node = client(channels, endpoint)?;
    let mut parts = node.read(ReceiverStream::new(asked)).await?.into_inner();
    match parts.message().await?.and_then(|part| part.part) {
        Some(Part::Head(head)) if head.shard == open.shard => Ok(Cut {
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
        let bodies_after = self.head.bodies_after;
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
            bodies_after,
            earlier: Vec::new(),
        })
    }
}

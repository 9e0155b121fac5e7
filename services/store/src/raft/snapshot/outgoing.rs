//! Reading a shard's rows, all of one moment, a part at a time.

use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;
use postino_proto::raft::v1 as proto;
use postino_proto::raft::v1::snapshot_part::Part;
use postino_types::ShardId;
use tokio::sync::{mpsc, oneshot};

use super::tally::Tally;
use super::{Meta, Parts, SnapshotError, pipe};
use crate::db::{Db, Family, KeyRange, Read, Snapshot, Space};
use crate::raft::{codec, rows};

/// Bytes after which a part is full; one row alone may be larger.
const PART: usize = 512 << 10;

/// A snapshot of what the shard's state is now; `None` if nothing has been applied yet.
///
/// Its rows are read by a thread that holds the view, as they are taken; it ends with the last
/// part, or when nobody takes parts any more.
pub(crate) async fn read(db: Db, shard: ShardId) -> io::Result<Option<(Meta, Parts)>> {
    let (sender, parts) = pipe();
    let (describe, described) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&db, shard, 0, describe, sender, None) {
            tracing::error!(%shard, %error, "a snapshot cannot be read");
        }
    });
    let unread = || io::Error::other("the snapshot cannot be read");
    let meta = described.await.map_err(|_| unread())?;
    Ok(meta.map(|meta| (meta, parts)))
}

/// A shard's rows as they were at one moment, which wait to be read. Dropped, they go.
pub(crate) struct Cut {
    /// Term and index of the last log entry that they include.
    pub(crate) term: u64,
    pub(crate) index: u64,
    go: oneshot::Sender<()>,
    parts: mpsc::Receiver<proto::SnapshotPart>,
}

impl Cut {
    /// Lets the rows come.
    pub(crate) fn read(self) -> mpsc::Receiver<proto::SnapshotPart> {
        // If the thread has gone, no part comes, and so no end.
        let _ = self.go.send(());
        self.parts
    }
}

/// Cuts a shard now; `None` if nothing has been applied yet. Bodies of entries up to `bodies_after`
/// are left out; 0 leaves out none.
///
/// A thread of its own holds the view, since that may take hours: the threads of the runtime are
/// for short waits.
pub(crate) async fn cut(db: Db, shard: ShardId, bodies_after: u64) -> io::Result<Option<Cut>> {
    let (sender, parts) = pipe();
    let (describe, described) = oneshot::channel();
    let (go, gone) = oneshot::channel();
    let read = move || {
        if let Err(error) = send(&db, shard, bodies_after, describe, sender, Some(gone)) {
            tracing::error!(%shard, %error, "a shard cannot be read for a backup");
        }
    };
    std::thread::Builder::new()
        .name(format!("backup-{shard}"))
        .spawn(read)?;
    let unread = || io::Error::other("the shard cannot be read");
    let meta = described.await.map_err(|_| unread())?;
    let last = meta.and_then(|meta| meta.last_log_id);
    Ok(last.map(|last| Cut {
        term: last.leader_id.term,
        index: last.index,
        go,
        parts,
    }))
}

/// Sends the rows of a view that is taken now; with `go`, once that has come.
fn send(
    db: &Db,
    shard: ShardId,
    bodies_after: u64,
    describe: oneshot::Sender<Option<Meta>>,
    parts: mpsc::Sender<proto::SnapshotPart>,
    go: Option<oneshot::Receiver<()>>,
) -> Result<(), SnapshotError> {
    let (view, space) = db.view(shard)?;
    let meta = describe_state(&view, space)?;
    let last = meta.as_ref().and_then(|meta| meta.last_log_id);
    // Whoever asked may have gone.
    let _ = describe.send(meta);
    let Some(last) = last else { return Ok(()) };
    if go.is_some_and(|go| go.blocking_recv().is_err()) {
        return Ok(());
    }
    let mut writer = PartWriter::new(parts);
    let everything = KeyRange::prefix(space.key());
    // Bodies of entries that are not applied belong to the log.
    let bodies = everything.clone().below(space.key().u64(last.index + 1));
    let bodies = match bodies_after {
        0 => bodies,
        last => bodies.from(space.key().u64(last.saturating_add(1))),
    };
    let state = Family::STATE.map(|family| (family, everything.clone()));
    for (family, range) in state.into_iter().chain([(Family::Bodies, bodies)]) {
        let skip = space.key().as_slice().len();
        let mut rows = view.scan_once(family, range);
        while let Some((key, value)) = rows.advance()? {
            if writer.row(family, &key[skip..], value).is_break() {
                return Ok(());
            }
        }
    }
    writer.end();
    Ok(())
}

/// How far the state of a view has come; `None` if nothing has been applied.
pub(crate) fn describe_state(
    view: &Snapshot<'_>,
    space: Space,
) -> Result<Option<Meta>, SnapshotError> {
    let Some(row) = view.get(Family::Raft, rows::applied_key(space))? else {
        return Ok(None);
    };
    let (last_log_id, last_membership) = codec::applied_in(rows::decode(&row)?)?;
    Ok(last_log_id.is_some().then_some(Meta {
        last_log_id,
        last_membership,
    }))
}

/// Gathers rows into parts. Breaks when nobody takes them any more.
struct PartWriter {
    parts: mpsc::Sender<proto::SnapshotPart>,
    family: Family,
    rows: Vec<proto::snapshot_rows::Row>,
    bytes: usize,
    tally: Tally,
}

impl PartWriter {
    fn new(parts: mpsc::Sender<proto::SnapshotPart>) -> Self {
        Self {
            parts,
            family: Family::Meta,
            rows: Vec::new(),
            bytes: 0,
            tally: Tally::default(),
        }
    }

    fn row(&mut self, family: Family, key: &[u8], value: &[u8]) -> ControlFlow<()> {
        if family != self.family || self.bytes >= PART {
            self.flush()?;
            self.family = family;
        }
        self.tally.count(family, key, value);
        // A row costs a little even if it is empty.
        self.bytes += key.len() + value.len() + 16;
        self.rows.push(proto::snapshot_rows::Row {
            key: Bytes::copy_from_slice(key),
            value: Bytes::copy_from_slice(value),
        });
        ControlFlow::Continue(())
    }

    fn flush(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        if self.rows.is_empty() {
            return ControlFlow::Continue(());
        }
        let rows = proto::SnapshotRows {
            family: self.family.name().to_owned(),
            rows: std::mem::take(&mut self.rows),
        };
        self.send(Part::Rows(rows))
    }

    fn end(mut self) {
        if self.flush().is_continue() {
            let end = self.tally.end();
            // Without a taker there is nobody to tell.
            let _ = self.send(Part::End(end));
        }
    }

    fn send(&self, part: Part) -> ControlFlow<()> {
        let part = proto::SnapshotPart { part: Some(part) };
        match self.parts.blocking_send(part) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

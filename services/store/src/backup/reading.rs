//! Reading a backup for a restore: each shard as if it had been written as one file.

use std::ops::ControlFlow;
use std::path::Path;

use postino_proto::admin::v1::restore_step::Step;
use postino_proto::admin::v1::shard_part::Part;
use postino_proto::admin::v1::{RestoreBegin, RestoreFinish, RestoreStep, ShardPart};
use tokio::sync::mpsc;

use super::manifest::{Manifest, ShardFile};
use super::references::{self, References};
use super::rows::{Page, ShardRows};
use super::{BackupError, Tell};
use crate::db::{DbError, Family};
use crate::raft::Tally;

/// Sends all shards; ends early, without an error, when nobody takes the steps any more. Blocks.
pub(super) fn send_all(
    directory: &Path,
    manifest: &Manifest,
    steps: &mpsc::Sender<RestoreStep>,
    tell: &Tell,
) -> Result<(), BackupError> {
    let shard_count = manifest.shard_count;
    if put(steps, Step::Begin(RestoreBegin { shard_count })).is_break() {
        return Ok(());
    }
    for file in &manifest.shards {
        let mut shard = Shard::open(directory, manifest, file)?;
        if shard.send(steps)?.is_break() {
            return Ok(());
        }
        tell(&format!("shard {} is sent", file.shard));
    }
    // Without a taker, the node says why.
    let _ = put(steps, Step::Finish(RestoreFinish {}));
    Ok(())
}

fn put(steps: &mpsc::Sender<RestoreStep>, step: Step) -> ControlFlow<()> {
    match steps.blocking_send(RestoreStep { step: Some(step) }) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// A shard on its way.
struct Shard<'a> {
    directory: &'a Path,
    manifest: &'a Manifest,
    file: &'a ShardFile,
    rows: ShardRows<'a>,
    /// Which bodies of earlier backups are still of use.
    wanted: References,
}

impl<'a> Shard<'a> {
    fn open(
        directory: &'a Path,
        manifest: &'a Manifest,
        file: &'a ShardFile,
    ) -> Result<Self, BackupError> {
        Ok(Self {
            directory,
            manifest,
            file,
            rows: ShardRows::open(directory, manifest, file)?,
            wanted: References::new(),
        })
    }

    fn send(&mut self, steps: &mpsc::Sender<RestoreStep>) -> Result<ControlFlow<()>, BackupError> {
        let put = |part| put(steps, Step::Part(ShardPart { part: Some(part) }));
        if put(Part::Head(self.rows.head())).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let mut tally = Tally::default();
        while let Some(mut page) = self.rows.next()? {
            if page.is_earlier {
                self.keep_wanted(&mut page)?;
            } else if page.family != Family::Bodies && !self.file.earlier.is_empty() {
                note(&mut self.wanted, &page).map_err(|what| self.rows.damaged(what))?;
            }
            for row in &page.rows.rows {
                tally.count(page.family, &row.key, &row.value);
            }
            if !page.rows.rows.is_empty() && put(Part::Rows(page.rows)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(put(Part::End(tally.end())))
    }

    /// Leaves out what nothing refers to any more: it would never go.
    fn keep_wanted(&mut self, page: &mut Page) -> Result<(), BackupError> {
        let mut kept = Vec::with_capacity(page.rows.rows.len());
        for row in std::mem::take(&mut page.rows.rows) {
            let place = references::place(&row.key);
            let place = place.map_err(|error: DbError| self.rows.damaged(error))?;
            let wanted = loop {
                match self.wanted.wants(place) {
                    Some(wanted) => break wanted,
                    None => self.look_further()?,
                }
            };
            if wanted {
                kept.push(row);
            }
        }
        page.rows.rows = kept;
        Ok(())
    }

    /// Reads the state once more, for the references that did not fit before.
    fn look_further(&mut self) -> Result<(), BackupError> {
        let Some(mut next) = self.wanted.following() else {
            return Ok(());
        };
        let mut again = ShardRows::open(self.directory, self.manifest, self.file)?;
        while let Some(page) = again.next()? {
            if page.family == Family::Bodies {
                break;
            }
            note(&mut next, &page).map_err(|what| again.damaged(what))?;
        }
        self.wanted = next;
        Ok(())
    }
}

fn note(wanted: &mut References, page: &Page) -> Result<(), String> {
    let mut rows = page.rows.rows.iter();
    rows.try_for_each(|row| wanted.row(page.family, &row.key, &row.value))
}

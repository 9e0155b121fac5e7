//! Uploads: bodies that are too large for one command come in chunks, each a command of its own,
//! and a last command takes them. Chunks are idempotent by (upload-id, number).

use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{BodySource, Done, RefusalKind, UploadChunkCommand};

use super::commit::{Commit, Outcome, refuse};
use crate::db::{DbError, Family};
use crate::model::email::BodyPart;
use crate::model::spool::{self, UploadRow};
use crate::model::{Rows, decode};

/// Keeps one chunk. A chunk that is here already is not kept twice.
pub(super) fn chunk(commit: &mut Commit<'_>, command: &UploadChunkCommand) -> Outcome {
    let space = commit.space();
    let key = spool::chunk(space, &command.upload_id, command.number);
    let known: Option<BodyPart> = commit.rows.row(Family::Spool, key)?;
    if known.is_none() {
        let source = BodySource {
            length: commit.body.length,
            ..BodySource::default()
        };
        if let Some(part) = commit.take_source(Some(source))?.pop() {
            let key = spool::chunk(space, &command.upload_id, command.number);
            commit.put(Family::Spool, key, &part);
        }
    }
    let last_ms = commit.now_ms();
    let key = spool::upload(space, &command.upload_id);
    commit.put(Family::Spool, key, &UploadRow { last_ms });
    Ok(Answer::Done(Done {}))
}

fn parts(commit: &Commit<'_>, upload: &str) -> Result<Vec<BodyPart>, DbError> {
    let range = spool::chunks(commit.space(), upload);
    let rows = commit.rows.page(Family::Spool, &range, usize::MAX)?;
    rows.into_iter().map(|(_, row)| decode(row)).collect()
}

/// Takes the chunks of a whole upload. Refused if some are missing: it was reaped, or never whole.
pub(super) fn take(commit: &mut Commit<'_>, source: &BodySource) -> Outcome<Vec<BodyPart>> {
    let parts = parts(commit, &source.upload_id)?;
    let octets: u64 = parts.iter().map(|part| part.length).sum();
    if parts.len() as u64 != u64::from(source.chunks) || octets != source.upload_octets {
        return Err(refuse(
            RefusalKind::UploadLost,
            "the upload is not complete",
        ));
    }
    forget(commit, &source.upload_id)?;
    Ok(parts)
}

/// Drops an upload and its octets.
pub(super) fn discard(commit: &mut Commit<'_>, upload: &str) -> Result<(), DbError> {
    let parts = parts(commit, upload)?;
    commit.discard(&parts)?;
    forget(commit, upload)
}

fn forget(commit: &mut Commit<'_>, upload: &str) -> Result<(), DbError> {
    let space = commit.space();
    let range = spool::chunks(space, upload);
    for (key, _) in commit.rows.page(Family::Spool, &range, usize::MAX)? {
        commit.rows.delete_raw(Family::Spool, key);
    }
    commit
        .rows
        .delete(Family::Spool, spool::upload(space, upload));
    Ok(())
}

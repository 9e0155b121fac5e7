//! Bodies: who refers to which octets of the log, and when they go.

use postino_proto::store::v1::{BodySource, RefusalKind};
use postino_types::QueueId;

use super::commit::{Commit, Outcome, refuse};
use super::upload;
use crate::db::{DbError, Family};
use crate::model::email::{self, BodyPart};
use crate::model::spool::{self, LetterRow};
use crate::model::{Rows, fixed};

impl Commit<'_> {
    /// A range of the body of this very command.
    fn own_part(&mut self, offset: u64, length: u64) -> Outcome<BodyPart> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.body.length) {
            return Err(refuse(
                RefusalKind::Invalid,
                "the command's body is too short",
            ));
        }
        let part = BodyPart {
            index: self.body.index,
            number: self.body.number,
            offset,
            length,
        };
        self.body.used.push(part);
        Ok(part)
    }

    /// Finds the octets of a letter and takes one reference to them. An upload is used up.
    pub(super) fn take_source(&mut self, source: Option<BodySource>) -> Outcome<Vec<BodyPart>> {
        let source = source.unwrap_or_default();
        if !source.spooled_queue_id.is_empty() {
            return self.share_spooled(&source.spooled_queue_id);
        }
        let mut parts = Vec::new();
        if source.length > 0 {
            parts.push(self.own_part(source.offset, source.length)?);
        }
        if !source.upload_id.is_empty() {
            parts.append(&mut upload::take(self, &source)?);
        }
        Ok(parts)
    }

    /// Drops the octets of a letter that is not taken after all.
    pub(super) fn drop_source(&mut self, source: Option<&BodySource>) -> Result<(), DbError> {
        // The command's own body goes unless it is used; an upload goes here.
        match source {
            Some(source) if !source.upload_id.is_empty() => {
                upload::discard(self, &source.upload_id)
            }
            _ => Ok(()),
        }
    }

    fn share_spooled(&mut self, queue_id: &str) -> Outcome<Vec<BodyPart>> {
        let lost = || refuse(RefusalKind::UploadLost, "the letter has left the spool");
        let id: QueueId = queue_id.parse().map_err(|_| lost())?;
        let letter: Option<LetterRow> = self
            .rows
            .row(Family::Spool, spool::letter(self.space(), &id))?;
        let letter = letter.ok_or_else(lost)?;
        self.share_body(&letter.body, 1)?;
        Ok(letter.body)
    }

    /// Counts `more` references to a body that has one at least.
    pub(super) fn share_body(&mut self, body: &[BodyPart], more: u64) -> Result<(), DbError> {
        let Some(first) = body.first() else {
            return Ok(());
        };
        let key = || email::body_refs(self.space(), first);
        let count = email::count(&self.rows, key())? + more;
        let key = key();
        self.rows
            .put(Family::Email, key, fixed(&[&count.to_be_bytes()]));
        Ok(())
    }

    /// Drops one reference to a body; with the last one, its octets go.
    pub(super) fn drop_body(&mut self, body: &[BodyPart]) -> Result<(), DbError> {
        let Some(first) = body.first() else {
            return Ok(());
        };
        let space = self.space();
        let key = || email::body_refs(space, first);
        match email::count(&self.rows, key())? {
            0 | 1 => {
                self.rows.delete(Family::Email, key());
                self.discard(body)?;
            }
            2 => self.rows.delete(Family::Email, key()),
            count => {
                let row = fixed(&[&(count - 1).to_be_bytes()]);
                self.rows.put(Family::Email, key(), row);
            }
        }
        Ok(())
    }

    /// Lets go of octets that nothing refers to.
    pub(super) fn discard(&mut self, body: &[BodyPart]) -> Result<(), DbError> {
        body.iter().try_for_each(|part| self.discard_part(part))
    }

    fn discard_part(&mut self, part: &BodyPart) -> Result<(), DbError> {
        // Taken and dropped by one command: what is left counts when the command is done.
        if (part.index, part.number) == (self.body.index, self.body.number)
            && let Some(place) = self.body.used.iter().position(|used| used == part)
        {
            self.body.used.swap_remove(place);
            return Ok(());
        }
        // An earlier version kept no count of pieces: what it stored stays.
        if part.index < self.shard.bodies_counted_from {
            return Ok(());
        }
        let key = email::body_pieces(self.space(), part.index, part.number);
        match email::count(&self.rows, key.clone())? {
            0 | 1 => self.freed.push((part.index, part.number)),
            2 => self.rows.delete(Family::Email, key),
            pieces => {
                let row = fixed(&[&(pieces - 1).to_be_bytes()]);
                self.rows.put(Family::Email, key, row);
            }
        }
        Ok(())
    }

    /// Counts the pieces of the command's own body that found a place. Without any, it goes.
    pub(super) fn count_own_body(&mut self) {
        let pieces = std::mem::take(&mut self.body.used).len() as u64;
        if self.body.length == 0 {
            return;
        }
        self.body.length = 0;
        let (index, number) = (self.body.index, self.body.number);
        match pieces {
            0 => self.freed.push((index, number)),
            1 => {}
            pieces => {
                let key = email::body_pieces(self.space(), index, number);
                self.rows
                    .put(Family::Email, key, fixed(&[&pieces.to_be_bytes()]));
            }
        }
    }

    /// Drops one message's reference to an email; with the last one, the email goes.
    pub(super) fn drop_email(&mut self, id: u64) -> Result<(), DbError> {
        let space = self.space();
        let count = email::count(&self.rows, email::email_refs(space, id))?;
        match count {
            0 | 1 => {
                if let Some(row) = email::find(&self.rows, space, id)? {
                    self.drop_body(&row.body)?;
                }
                self.rows.delete(Family::Email, email::email(space, id));
                self.rows
                    .delete(Family::Email, email::email_refs(space, id));
            }
            2 => self
                .rows
                .delete(Family::Email, email::email_refs(space, id)),
            count => self.put_email_refs(id, count - 1),
        }
        Ok(())
    }

    /// Counts `more` messages that show an email which one shows already.
    pub(super) fn share_email(&mut self, id: u64, more: u64) -> Result<(), DbError> {
        let count = email::count(&self.rows, email::email_refs(self.space(), id))?;
        self.put_email_refs(id, count + more);
        Ok(())
    }

    pub(super) fn put_email_refs(&mut self, id: u64, count: u64) {
        let key = email::email_refs(self.space(), id);
        self.rows
            .put(Family::Email, key, fixed(&[&count.to_be_bytes()]));
    }
}

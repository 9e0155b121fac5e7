//! What a batch of entries will have written, readable before it is.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::db::{Db, DbError, Direction, Family, Key, Space, WriteBatch};
use crate::model::{Flow, Range, Rows, Visitor};

/// A row as it will be: `None` is removed.
type Pending = BTreeMap<Vec<u8>, Option<Bytes>>;

/// The rows of one shard with the writes of this batch on top. A command that is refused is
/// rolled back to where it started.
pub(crate) struct Overlay<'a> {
    db: &'a Db,
    space: Space,
    families: [Pending; Family::STATE.len()],
    undo: Vec<Undo>,
}

struct Undo {
    family: usize,
    key: Vec<u8>,
    /// `None`: this batch had not touched it.
    before: Option<Option<Bytes>>,
}

fn place(family: Family) -> usize {
    let place = Family::STATE.iter().position(|state| *state == family);
    place.expect("state lies in these families alone")
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(db: &'a Db, space: Space) -> Self {
        Self {
            db,
            space,
            families: Default::default(),
            undo: Vec::new(),
        }
    }

    pub(crate) fn space(&self) -> Space {
        self.space
    }

    pub(crate) fn put(&mut self, family: Family, key: Key, value: Bytes) {
        self.set(family, key.into_vec(), Some(value));
    }

    pub(crate) fn delete(&mut self, family: Family, key: Key) {
        self.set(family, key.into_vec(), None);
    }

    pub(crate) fn delete_raw(&mut self, family: Family, key: Vec<u8>) {
        self.set(family, key, None);
    }

    fn set(&mut self, family: Family, key: Vec<u8>, value: Option<Bytes>) {
        let family = place(family);
        let before = self.families[family].insert(key.clone(), value);
        self.undo.push(Undo {
            family,
            key,
            before,
        });
    }

    /// Keeps the writes so far, whatever comes.
    pub(crate) fn keep(&mut self) {
        self.undo.clear();
    }

    /// Takes back the writes since the last [`Self::keep`].
    pub(crate) fn roll_back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            let rows = &mut self.families[undo.family];
            match undo.before {
                Some(before) => rows.insert(undo.key, before),
                None => rows.remove(&undo.key),
            };
        }
    }

    /// Puts all writes into a batch.
    pub(crate) fn write_into(self, batch: &mut WriteBatch) {
        for (family, rows) in Family::STATE.into_iter().zip(self.families) {
            for (key, value) in rows {
                match value {
                    Some(value) => batch.put(family, key, value),
                    None => batch.delete(family, key),
                }
            }
        }
    }
}

impl Rows for Overlay<'_> {
    fn get(&self, family: Family, key: Key) -> Result<Option<Bytes>, DbError> {
        match self.families[place(family)].get(key.as_slice()) {
            Some(pending) => Ok(pending.clone()),
            None => Rows::get(self.db, family, key),
        }
    }

    fn visit(&self, family: Family, range: &Range, each: &mut Visitor<'_>) -> Result<(), DbError> {
        if range.is_empty() {
            return Ok(());
        }
        let bounds = (
            Bound::Included(range.start.as_slice()),
            Bound::Excluded(range.end.as_slice()),
        );
        let pending = self.families[place(family)].range::<[u8], _>(bounds);
        let forward = range.direction == Direction::Forward;
        let mut pending: Box<dyn Iterator<Item = _>> = match forward {
            true => Box::new(pending),
            false => Box::new(pending.rev()),
        };
        let mut next = pending.next();
        let mut ended = false;
        Rows::visit(self.db, family, range, &mut |key, value| {
            // Pending rows that come before this one, or instead of it.
            while let Some((pending_key, pending_value)) = next {
                let order = pending_key.as_slice().cmp(key);
                let order = if forward { order } else { order.reverse() };
                if order.is_gt() {
                    break;
                }
                next = pending.next();
                if let Some(pending_value) = pending_value
                    && each(pending_key, pending_value)?.is_break()
                {
                    ended = true;
                    return Ok(Flow::Break(()));
                }
                if order.is_eq() {
                    return Ok(Flow::Continue(()));
                }
            }
            let flow = each(key, value)?;
            ended = flow.is_break();
            Ok(flow)
        })?;
        while !ended && let Some((key, value)) = next {
            next = pending.next();
            if let Some(value) = value {
                ended = each(key, value)?.is_break();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::DbSettings;
    use postino_types::ShardId;

    #[test]
    fn a_range_shows_the_batch_on_top_of_the_database() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path(), &DbSettings::default()).unwrap();
        let space = db.space(ShardId::new(1)).unwrap();
        let key = |n: u32| space.key().u8(1).u32(n);
        let mut batch = db.batch();
        for n in [2, 4, 6, 8] {
            batch.put(Family::Spool, key(n), b"old");
        }
        db.write(batch).unwrap();
        let mut overlay = Overlay::new(&db, space);
        overlay.put(Family::Spool, key(1), Bytes::from_static(b"new"));
        overlay.put(Family::Spool, key(4), Bytes::from_static(b"new"));
        overlay.delete(Family::Spool, key(6));
        overlay.put(Family::Spool, key(9), Bytes::from_static(b"new"));
        overlay.keep();
        overlay.put(Family::Spool, key(5), Bytes::from_static(b"refused"));
        overlay.delete(Family::Spool, key(1));
        overlay.roll_back();

        let rows = |range: &Range, limit| {
            let rows = overlay.page(Family::Spool, range, limit).unwrap();
            let row = |(key, value): (Vec<u8>, Bytes)| (key[12], value == "new");
            rows.into_iter().map(row).collect::<Vec<_>>()
        };
        let all = Range::prefix(space.key().u8(1));
        let expected = [(1, true), (2, false), (4, true), (8, false), (9, true)];
        assert_eq!(rows(&all, 9), expected);
        assert_eq!(rows(&all, 3), expected[..3]);
        assert_eq!(rows(&all, 1), expected[..1]);
        let mut down = expected;
        down.reverse();
        assert_eq!(rows(&all.clone().reverse(), 9), down);
        assert_eq!(rows(&all.clone().reverse(), 1), down[..1]);
        assert_eq!(rows(&all.clone().from(key(9)), 9), [(9, true)]);
        assert_eq!(rows(&all.after(key(9)), 9), []);
        assert_eq!(overlay.get(Family::Spool, key(6)).unwrap(), None);
    }
}

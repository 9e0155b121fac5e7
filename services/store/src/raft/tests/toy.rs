//! A machine that remembers its commands, for the tests of this module.

use bytes::Bytes;
use postino_types::ShardId;

use crate::db::{Db, Family, KeyRange, Read};
use crate::raft::{ApplyHalt, CommittedEntry, Machine, Progress};

/// Keeps each command in `Family::Directory`, under its index and number, and
/// answers with how many the shard has now. `halt` halts it.
pub(super) struct Toy {
    db: Db,
}

impl Toy {
    pub(super) fn new(db: Db) -> Self {
        Self { db }
    }
}

/// The commands that a shard has applied, in order.
pub(super) fn applied(db: &Db, shard: ShardId) -> Vec<String> {
    let space = db.space(shard).unwrap();
    db.scan(Family::Directory, KeyRange::prefix(space.key()))
        .map(|row| String::from_utf8(row.unwrap().value.to_vec()).unwrap())
        .collect()
}

impl Machine for Toy {
    fn apply(
        &self,
        shard: ShardId,
        entries: Vec<CommittedEntry>,
        progress: Progress,
    ) -> Result<Vec<Vec<Bytes>>, ApplyHalt> {
        let space = self.db.space(shard)?;
        let everything = KeyRange::prefix(space.key());
        let mut count = self.db.scan(Family::Directory, everything).count();
        let mut batch = self.db.batch();
        progress.put(&mut batch);
        let mut answers = Vec::new();
        for entry in entries {
            let mut of_entry = Vec::new();
            for command in entry.commands {
                if command.command.as_ref() == b"halt" {
                    return Err(ApplyHalt::new("unknown command"));
                }
                let key = space.key().u64(entry.index).u32(command.body.number);
                batch.put(Family::Directory, key, &command.command);
                count += 1;
                of_entry.push(Bytes::from(count.to_string()));
            }
            answers.push(of_entry);
        }
        self.db.write(batch)?;
        Ok(answers)
    }
}

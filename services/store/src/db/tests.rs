use postino_types::ShardId;

use super::*;

fn open(directory: &Path) -> Db {
    Db::open(directory, &DbSettings::default()).unwrap()
}

fn keys(scan: Scan<'_>) -> Vec<Vec<u8>> {
    scan.map(|row| row.unwrap().key.to_vec()).collect()
}

#[test]
fn a_batch_is_read_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let space = db.space(ShardId::new(2)).unwrap();
    let mut batch = db.batch();
    batch.put(Family::Spool, space.key().u64(1), b"one");
    batch.put(Family::Bodies, space.key().u64(1), b"body");
    db.write(batch).unwrap();
    db.sync_wal().unwrap();
    drop(db);

    let db = open(directory.path());
    let value = db.get(Family::Spool, space.key().u64(1)).unwrap();
    assert_eq!(value.as_deref(), Some(&b"one"[..]));
    assert!(db.contains(Family::Bodies, space.key().u64(1)).unwrap());
    assert!(!db.contains(Family::Spool, space.key().u64(2)).unwrap());
    let many = db
        .multi_get(Family::Spool, &[space.key().u64(2), space.key().u64(1)])
        .unwrap();
    assert_eq!(many[0], None);
    assert_eq!(many[1].as_deref(), Some(&b"one"[..]));
}

#[test]
fn a_scan_keeps_to_its_range_in_both_directions() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let (two, three) = (ShardId::new(2), ShardId::new(3));
    let (two, three) = (db.space(two).unwrap(), db.space(three).unwrap());
    let mut batch = db.batch();
    for index in 1..=3_u64 {
        batch.put(Family::Log, two.key().u64(index), b"");
        batch.put(Family::Log, three.key().u64(index), b"");
    }
    db.write(batch).unwrap();

    let all = |space: Space| KeyRange::prefix(space.key());
    let key = |index: u64| two.key().u64(index).into_vec();
    assert_eq!(
        keys(db.scan(Family::Log, all(two))),
        [key(1), key(2), key(3)]
    );
    let down = all(two).reverse();
    assert_eq!(keys(db.scan(Family::Log, down)), [key(3), key(2), key(1)]);
    let page = all(two).after(key(1));
    assert_eq!(keys(db.scan(Family::Log, page)), [key(2), key(3)]);
    let below = all(two).below(key(3)).reverse();
    assert_eq!(keys(db.scan(Family::Log, below)), [key(2), key(1)]);

    let mut batch = db.batch();
    batch.delete_range(Family::Log, &all(two).from(key(2)));
    db.write(batch).unwrap();
    assert_eq!(keys(db.scan(Family::Log, all(two))), [key(1)]);
    assert_eq!(db.scan(Family::Log, all(three)).count(), 3);
}

#[test]
fn a_snapshot_does_not_see_later_writes() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let space = db.space(ShardId::CONTROL).unwrap();
    let row = space.key().text("example.org");
    let write = |value: &[u8]| {
        let mut batch = db.batch();
        batch.put(Family::Directory, &row, value);
        db.write(batch).unwrap();
    };
    write(b"old");
    let snapshot = db.snapshot();
    write(b"new");
    let seen = |value: Option<bytes::Bytes>| value.unwrap().to_vec();
    assert_eq!(seen(snapshot.get(Family::Directory, &row).unwrap()), b"old");
    let first = snapshot.first(Family::Directory, KeyRange::prefix(space.key()));
    assert_eq!(first.unwrap().unwrap().value.as_ref(), b"old");
    let many = snapshot.multi_get(Family::Directory, &[&row]).unwrap();
    assert_eq!(seen(many.into_iter().next().unwrap()), b"old");
    assert_eq!(seen(db.get(Family::Directory, &row).unwrap()), b"new");
}

#[test]
fn keys_are_golden() {
    let key = Space::new(ShardId::new(3), 1)
        .key()
        .u8(7)
        .u64(258)
        .text("a");
    assert_eq!(
        key.as_slice(),
        b"\0\0\0\x03\0\0\0\x01\x07\0\0\0\0\0\0\x01\x02a\0"
    );
}

/// Changes a byte in the middle of every file of this kind.
fn corrupt(directory: &Path, extension: &str) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|found| found == extension) {
            let mut bytes = std::fs::read(&path).unwrap();
            // Within the data blocks, which come first.
            bytes[2000] ^= 0x40;
            std::fs::write(&path, bytes).unwrap();
            files += 1;
        }
    }
    files
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|_| fastrand::u8(..)).collect()
}

#[test]
fn a_damaged_file_is_reported_and_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let space = db.space(ShardId::new(2)).unwrap();
    let mut batch = db.batch();
    batch.put(Family::Bodies, space.key().u64(1), noise(10_000));
    db.write(batch).unwrap();
    db.flush().unwrap();
    drop(db);
    assert_eq!(corrupt(directory.path(), "sst"), 1);
    let db = open(directory.path());
    assert_eq!(*db.damage().borrow(), None);
    let refused = db.get(Family::Bodies, space.key().u64(1)).unwrap_err();
    assert!(refused.is_damage(), "{refused}");
    assert_eq!(db.damage().borrow().as_deref(), Some(&*refused.to_string()));
    let mut rows = db.scan(Family::Bodies, KeyRange::prefix(space.key()));
    assert!(rows.advance().is_err());
    assert!(db.view(space.shard()).is_ok());
}

#[test]
fn a_damaged_record_of_the_log_fails_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let space = db.space(ShardId::new(2)).unwrap();
    for index in 1..=2_u64 {
        let mut batch = db.batch();
        batch.put(Family::Log, space.key().u64(index), noise(10_000));
        db.write(batch).unwrap();
    }
    db.sync_wal().unwrap();
    drop(db);
    assert_eq!(corrupt(directory.path(), "log"), 1);
    let refused = Db::open(directory.path(), &DbSettings::default());
    assert!(refused.unwrap_err().is_damage());
}

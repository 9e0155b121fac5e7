use super::*;
use crate::db::DbSettings;

fn open(directory: &Path) -> Db {
    Db::open(&directory.join("db"), &DbSettings::default()).unwrap()
}

#[test]
fn an_identity_is_kept_and_given_once() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    assert_eq!(Identity::load(&db, directory.path()).unwrap(), None);
    let identity = Identity::first(16).unwrap();
    identity.store(&db, directory.path()).unwrap();
    let again = Identity::first(16).unwrap().store(&db, directory.path());
    assert!(matches!(again, Err(IdentityError::Exists(_))));
    drop(db);
    let db = open(directory.path());
    assert_eq!(
        Identity::load(&db, directory.path()).unwrap(),
        Some(identity)
    );
}

#[test]
fn a_node_that_lost_its_database_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let identity = Identity::first(16).unwrap();
    identity.store(&db, directory.path()).unwrap();
    drop(db);
    std::fs::remove_dir_all(directory.path().join("db")).unwrap();
    let db = open(directory.path());
    let lost = Identity::load(&db, directory.path());
    assert!(matches!(lost, Err(IdentityError::StateLost { .. })));
    // Nor may it take another identity there, as if nothing had been.
    let stored = identity.store(&db, directory.path());
    assert!(matches!(stored, Err(IdentityError::StateLost { .. })));
}

#[test]
fn a_crash_before_the_marker_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    let db = open(directory.path());
    let identity = Identity::first(1).unwrap();
    identity.store(&db, directory.path()).unwrap();
    std::fs::remove_file(directory.path().join("identity")).unwrap();
    assert_eq!(
        Identity::load(&db, directory.path()).unwrap(),
        Some(identity)
    );
    let marker = std::fs::read_to_string(directory.path().join("identity")).unwrap();
    assert_eq!(marker.trim_end(), identity.to_string());
}

#[test]
fn the_row_is_golden() {
    let cluster: ClusterId = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
    let identity = Identity::new(cluster, NodeId::new(7), 16).unwrap();
    let row = b"\x01\x0a\x10\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x07\x18\x10";
    assert_eq!(decode(row).unwrap(), identity);
    assert_eq!(&row[1..], proto::Identity::from(identity).encode_to_vec());
    assert!(decode(b"\x02").is_err());
}

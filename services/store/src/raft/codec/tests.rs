//! Golden bytes: an upgrade must read what the last version wrote.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::{BasicNode, EntryPayload};
use prost::Message as _;

use super::*;
use crate::raft::rows;

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

fn entry(payload: EntryPayload<Batch, u64, BasicNode>) -> Entry {
    Entry {
        log_id: log_id(2, 300),
        payload,
    }
}

fn batch(body: Body) -> Entry {
    entry(EntryPayload::Normal(Batch {
        time_ms: 1_700_000_000_000,
        commands: vec![
            Command {
                command: Bytes::from_static(b"deliver"),
                body,
            },
            Command {
                command: Bytes::from_static(b"flag"),
                body: Body::None,
            },
        ],
    }))
}

fn membership() -> Membership {
    let nodes = [(1, "http://a:1"), (2, "http://b:1"), (5, "http://c:1")];
    let nodes: BTreeMap<_, _> = nodes.map(|(id, at)| (id, BasicNode::new(at))).into();
    let configs = vec![BTreeSet::from([1]), BTreeSet::from([1, 2])];
    Membership::new(configs, nodes).unwrap()
}

fn row(entry: &Entry) -> Vec<u8> {
    rows::encode(&entry_out(entry, To::Disk).unwrap())
}

#[test]
fn log_rows_are_golden() {
    let blank = b"\x01\x08\x02\x10\xac\x02\x1a\x00";
    assert_eq!(row(&entry(EntryPayload::Blank)), blank);
    assert_eq!(
        rows::decode_entry(blank).unwrap(),
        entry(EntryPayload::Blank)
    );

    let stored = b"\x01\x08\x02\x10\xac\x02\x22\x1c\x08\x80\xd0\x95\xff\xbc\x31\
                   \x12\x0b\x0a\x07deliver\x10\x04\x12\x06\x0a\x04flag";
    let whole = batch(Body::Inline(Bytes::from_static(b"body")));
    assert_eq!(row(&whole), stored);
    assert_eq!(rows::decode_entry(stored).unwrap(), batch(Body::Stored(4)));

    let members = b"\x01\x08\x02\x10\xac\x02\x2a\x3b\x0a\x03\x0a\x01\x01\x0a\x04\x0a\x02\x01\x02\
                    \x12\x0e\x08\x01\x12\x0ahttp://a:1\x12\x0e\x08\x02\x12\x0ahttp://b:1\
                    \x12\x0e\x08\x05\x12\x0ahttp://c:1";
    let change = entry(EntryPayload::Membership(membership()));
    assert_eq!(row(&change), members);
    assert_eq!(rows::decode_entry(members).unwrap(), change);
}

#[test]
fn entries_on_the_wire_are_golden() {
    let whole = batch(Body::Inline(Bytes::from_static(b"body")));
    let wire = b"\x08\x02\x10\xac\x02\x22\x20\x08\x80\xd0\x95\xff\xbc\x31\
                 \x12\x0f\x0a\x07deliver\x1a\x04body\x12\x06\x0a\x04flag";
    let message = entry_out(&whole, To::Peer).unwrap();
    assert_eq!(message.encode_to_vec(), wire);
    let message = proto::Entry::decode(&wire[..]).unwrap();
    assert_eq!(entry_in(message).unwrap(), whole);

    let gone = batch(Body::Gone(4));
    let stored = b"\x01\x08\x02\x10\xac\x02\x22\x1c\x08\x80\xd0\x95\xff\xbc\x31\
                   \x12\x0b\x0a\x07deliver\x20\x04\x12\x06\x0a\x04flag";
    assert_eq!(row(&gone), stored);
    assert_eq!(rows::decode_entry(stored).unwrap(), gone);
    let message = entry_out(&gone, To::Peer).unwrap();
    assert_eq!(entry_in(message).unwrap(), gone);
}

#[test]
fn a_lean_entry_never_leaves_for_a_peer() {
    let lean = entry_out(&batch(Body::Stored(4)), To::Peer);
    assert!(matches!(lean, Err(CodecError::BodyNotJoined)));
}

#[test]
fn votes_and_progress_are_golden() {
    let vote = Vote::new_committed(9, 3);
    let row = b"\x01\x08\x09\x10\x03\x18\x01";
    assert_eq!(rows::encode(&vote_out(&vote)), row);
    assert_eq!(vote_in(&rows::decode(row).unwrap()), vote);
    let candidate = Vote::new(10, 3);
    assert_eq!(vote_in(&vote_out(&candidate)), candidate);

    let stored = StoredMembership::new(Some(log_id(1, 4)), membership());
    let row = rows::encode(&applied_out(Some(&log_id(2, 7)), &stored));
    assert_eq!(
        &row[..13],
        b"\x01\x0a\x04\x08\x02\x10\x07\x12\x04\x08\x01\x10\x04"
    );
    let (last, read) = applied_in(rows::decode(&row).unwrap()).unwrap();
    assert_eq!((last, read), (Some(log_id(2, 7)), stored));
}

#[test]
fn rows_of_another_version_are_refused() {
    let row = rows::decode_entry(b"\x02\x08\x02\x10\xac\x02\x1a\x00");
    assert!(matches!(row, Err(CodecError::Version(2))));
    assert!(rows::decode_entry(b"").is_err());
}

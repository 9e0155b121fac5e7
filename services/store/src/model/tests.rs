//! Golden bytes: what an earlier version wrote must be found and read.

use bytes::Bytes;
use postino_types::{QueueId, ShardId};

use super::mailbox::{KeywordRow, MailboxRow};
use super::message::MessageRow;
use super::spool::{BodyPart, LeaseRow, MarkRow, ShardRow};
use super::*;
use crate::db::Space;

const SPACE: Space = Space::new(ShardId::new(1), 1);
const PREFIX: &[u8] = b"\0\0\0\x01\0\0\0\x01";

fn key(tail: &[u8]) -> Vec<u8> {
    [PREFIX, tail].concat()
}

#[test]
fn keys_are_golden() {
    let id = QueueId::mint(ShardId::new(1), 0x0123_4567_89ab, 7).unwrap();
    let text = b"000104HMASW9NC0000000007";
    let turned = b"04HMASW9NC00000000070001";
    assert_eq!(id.to_string().as_bytes(), text);
    let two = |tag: &[u8], rest: &[u8]| key(&[tag, rest].concat());
    assert_eq!(spool::letter(SPACE, &id).as_slice(), two(b"\x01", text));
    let due = [&b"\x03\0\0\0\0\0\0\x01\0"[..], text].concat();
    assert_eq!(spool::due(SPACE, 256, &id).as_slice(), key(&due));
    assert_eq!(spool::parse_due(&key(&due)).unwrap(), (256, id));
    let filed = [&b"\x01"[..], turned, b"\0\0\0\x02"].concat();
    assert_eq!(spool::filed(SPACE, &id, 2).as_slice(), key(&filed));
    assert_eq!(
        message::message(SPACE, 7, 2, 258).as_slice(),
        key(b"\0\0\0\0\0\0\0\x07\x06\0\0\0\0\0\0\0\x02\0\0\x01\x02")
    );
    assert_eq!(
        mailbox::changed(SPACE, 7, 2, 3, 4).as_slice(),
        key(b"\0\0\0\0\0\0\0\x07\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x04")
    );
    assert_eq!(
        mailbox::name(SPACE, 7, "INBOX").as_slice(),
        key(b"\0\0\0\0\0\0\0\x07\x04INBOX\0")
    );
    assert_eq!(
        directory::address(SPACE, "example.org", "a").as_slice(),
        key(b"\x02example.org\0a\0")
    );
}

#[test]
fn keys_come_back_as_their_parts() {
    let upload = spool::upload(SPACE, "u-1");
    assert_eq!(
        spool::parse_upload(SPACE, upload.as_slice()).unwrap(),
        "u-1"
    );
    let at = spool::appended_at(SPACE, 5, 7, "u-1");
    let parsed = spool::parse_appended_at(SPACE, at.as_slice()).unwrap();
    assert_eq!(parsed, (7, "u-1".to_owned()));
    let name = mailbox::name(SPACE, 7, "a/b");
    assert_eq!(mailbox::parse_name(SPACE, name.as_slice()).unwrap(), "a/b");
    let domain = directory::domain(SPACE, "example.org");
    assert_eq!(
        directory::parse_domain(SPACE, domain.as_slice()).unwrap(),
        "example.org"
    );
    assert!(spool::parse_due(b"x").is_err());
    assert!(spool::parse_upload(SPACE, b"x").is_err());
    assert!(spool::parse_appended_at(SPACE, b"x").is_err());
    assert!(mailbox::parse_name(SPACE, b"x").is_err());
    assert!(mailbox::parse_change(b"xxxxx").is_err());
}

#[test]
fn message_rows_are_golden() {
    let row = MessageRow {
        email: 1,
        system_flags: 9,
        keywords: 2,
        mod_seq: 3,
        size: 4,
        date_ms: -1,
        date_offset: -60,
    };
    let golden: &[u8] = b"\x01\0\0\0\0\0\0\0\x01\x09\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\xc4";
    assert_eq!(row.encode().as_ref(), golden);
    assert_eq!(MessageRow::decode(golden).unwrap(), row);
    assert!(MessageRow::decode(&golden[1..]).is_err());
    assert!(MessageRow::decode(&[&[2], &golden[1..]].concat()).is_err());
}

#[test]
fn prost_rows_are_golden() {
    fn check<M: prost::Message + Default + PartialEq + std::fmt::Debug>(
        row: M,
        golden: &'static [u8],
    ) {
        assert_eq!(encode(&row).as_ref(), golden);
        assert_eq!(decode::<M>(Bytes::from_static(golden)).unwrap(), row);
    }
    let part = BodyPart {
        index: 1,
        number: 2,
        offset: 3,
        length: 4,
    };
    check(part, b"\x01\x08\x01\x10\x02\x18\x03\x20\x04");
    let mark = MarkRow {
        filed: true,
        log_index: 5,
        term: 6,
    };
    check(mark, b"\x01\x08\x01\x10\x05\x18\x06");
    let lease = LeaseRow {
        holder: "q".into(),
        epoch: 2,
        ttl_ms: 3,
    };
    check(lease, b"\x01\x0a\x01q\x10\x02\x18\x03");
    let shard = ShardRow {
        now_ms: 1,
        last_email: 2,
        accepted_floor_ms: 3,
        filed_floor_ms: 4,
        feature_level: 5,
    };
    check(shard, b"\x01\x08\x01\x10\x02\x18\x03\x20\x04\x28\x05");
    let mailbox = MailboxRow {
        keywords: vec![KeywordRow {
            name: "k".into(),
            count: 1,
        }],
        ..MailboxRow::new("INBOX", 9, 0)
    };
    check(
        mailbox,
        b"\x01\x0a\x05INBOX\x10\x09\x18\x01\x48\x01\x50\x01\x58\x01\x6a\x05\x0a\x01k\x10\x01",
    );
    assert!(decode::<BodyPart>(Bytes::from_static(b"\x02")).is_err());
    assert!(decode::<BodyPart>(Bytes::new()).is_err());
}

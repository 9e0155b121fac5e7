//! Golden bytes: what an earlier version wrote must be found and read.

use bytes::Bytes;
use postino_proto::store::v1::{
    AccountMove, Credential, MoveCause, NodeState, RecipientState, RecipientStatus,
};
use postino_types::{QueueId, ShardId};

use super::directory::{MoveRow, NodeRow, ReplicasRow};
use super::email::EmailRow;
use super::mailbox::{KeywordRow, MailboxRow};
use super::message::MessageRow;
use super::spool::{
    AppendMarkRow, BodyPart, HoldRow, LeaseRow, LetterRow, MarkRow, ProgressRow, ShardRow,
    UploadRow,
};
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
    let tail = &spool::filed(SPACE, &id, 2).into_vec()[SPACE.key().as_slice().len()..];
    assert_eq!(spool::filed_minted_ms(tail), Some(id.unix_millis()));
    assert_eq!(spool::filed_minted_ms(&tail[1..]), None);
    assert_eq!(spool::filed_minted_ms(&[]), None);
    assert_eq!(spool::filed_account(b"\x01\0\0\0\0\0\0\0\x07"), Some(7));
    assert_eq!(spool::filed_account(b"\x01"), None);
    assert_eq!(
        message::message(SPACE, 7, 2, 258).as_slice(),
        key(b"\0\0\0\0\0\0\0\x07\x06\0\0\0\0\0\0\0\x02\0\0\x01\x02")
    );
    assert_eq!(
        email::body_pieces(SPACE, 258, 3).as_slice(),
        key(b"\x05\0\0\0\0\0\0\x01\x02\0\0\0\x03")
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

fn check<M: prost::Message + Default + PartialEq + std::fmt::Debug>(row: M, golden: &'static [u8]) {
    assert_eq!(encode(&row).as_ref(), golden);
    assert_eq!(decode::<M>(Bytes::from_static(golden)).unwrap(), row);
}

#[test]
fn rows_of_the_spool_are_golden() {
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
        given_up: true,
    };
    check(mark, b"\x01\x08\x01\x10\x05\x18\x06\x20\x01");
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
        filed_forgotten_ms: 6,
        bodies_counted_from: 7,
        hold: Some(HoldRow {
            cut: "c".into(),
            until_ms: 2,
            ended: true,
        }),
        remote_held: true,
    };
    check(
        shard,
        b"\x01\x08\x01\x10\x02\x18\x03\x20\x04\x28\x05\x30\x06\x38\x07\
          \x42\x07\x0a\x01c\x10\x02\x18\x01\x48\x01",
    );
    let letter = LetterRow {
        envelope: Bytes::from_static(b"V"),
        email: Bytes::from_static(b"E"),
        trace: Bytes::from_static(b"T"),
        size: 4,
        body: vec![part],
        recipients: 6,
    };
    check(
        letter,
        b"\x01\x0a\x01V\x12\x01E\x1a\x01T\x20\x04\x2a\x08\x08\x01\x10\x02\x18\x03\x20\x04\x30\x06",
    );
    let progress = ProgressRow {
        due_ms: 300,
        pending: 2,
    };
    check(progress, b"\x01\x08\xac\x02\x10\x02");
    check(UploadRow { last_ms: 1 }, b"\x01\x08\x01");
    let appended = AppendMarkRow {
        mailbox: 1,
        uid_validity: 2,
        uid: 3,
        at_ms: 4,
    };
    check(appended, b"\x01\x08\x01\x10\x02\x18\x03\x20\x04");
    let recipient = RecipientState {
        recipient: 1,
        status: RecipientStatus::Delivered.into(),
        attempts: 3,
        next_attempt_ms: 4,
        last_reply: "r".into(),
        last_remote: "h".into(),
        last_attempt_ms: 7,
        delay_notified: true,
    };
    check(
        recipient,
        b"\x01\x08\x01\x10\x02\x18\x03\x20\x04\x2a\x01r\x32\x01h\x38\x07\x40\x01",
    );
    assert!(decode::<BodyPart>(Bytes::from_static(b"\x02")).is_err());
    assert!(decode::<BodyPart>(Bytes::new()).is_err());
}

#[test]
fn rows_of_accounts_and_mailboxes_are_golden() {
    let account = account::AccountRow {
        address: "a@b".into(),
        gone: true,
        highest_mod_seq: 3,
        last_mailbox: 4,
        last_uid_validity: 5,
        octets: 6,
        messages: 7,
        quota_octets: 8,
        quota_messages: 9,
        mailboxes: 10,
        leaving: 11,
        coming: 12,
        last_move: 13,
        moved_to: 14,
    };
    check(
        account,
        b"\x01\x0a\x03a@b\x10\x01\x18\x03\x20\x04\x28\x05\x30\x06\x38\x07\x40\x08\x48\x09\x50\x0a\
          \x58\x0b\x60\x0c\x68\x0d\x70\x0e",
    );
    let mailbox = MailboxRow {
        name: "INBOX".into(),
        uid_validity: 2,
        uid_next: 3,
        highest_mod_seq: 4,
        exists: 5,
        unseen: 6,
        deleted: 7,
        size: 8,
        recent_floor: 9,
        unseen_floor: 10,
        run_first: 11,
        special_use: 12,
        keywords: vec![KeywordRow {
            name: "k".into(),
            count: 1,
        }],
        tombstone_floor: 14,
    };
    check(
        mailbox,
        b"\x01\x0a\x05INBOX\x10\x02\x18\x03\x20\x04\x28\x05\x30\x06\x38\x07\x40\x08\x48\x09\x50\x0a\
          \x58\x0b\x60\x0c\x6a\x05\x0a\x01k\x10\x01\x70\x0e",
    );
    let email = EmailRow {
        content: Bytes::from_static(b"C"),
        body: vec![BodyPart {
            index: 1,
            ..BodyPart::default()
        }],
        size: 3,
    };
    check(email, b"\x01\x0a\x01C\x12\x02\x08\x01\x18\x03");
}

#[test]
fn rows_of_the_directory_are_golden() {
    check(directory::DomainRow { addresses: 1 }, b"\x01\x08\x01");
    let address = directory::AddressRow {
        account: 1,
        targets: vec!["c@d".into()],
        address: "A@b".into(),
    };
    check(address, b"\x01\x08\x01\x12\x03c@d\x1a\x03A@b");
    let account = directory::AccountRow {
        address: "A@b".into(),
        domain: "b".into(),
        local_part: "a".into(),
        shard: 4,
        state: 5,
        credential: Some(Credential {
            epoch: 1,
            ..Credential::default()
        }),
        quota_octets: 7,
        quota_messages: 8,
        moving: Some(AccountMove {
            id: 1,
            from: 2,
            to: 3,
            started_ms: 4,
            switched: true,
            called_off: true,
        }),
    };
    check(
        account,
        b"\x01\x0a\x03A@b\x12\x01b\x1a\x01a\x20\x04\x28\x05\x32\x02\x08\x01\x38\x07\x40\x08\
          \x4a\x0c\x08\x01\x10\x02\x18\x03\x20\x04\x28\x01\x30\x01",
    );
    let node = NodeRow {
        endpoint: "http://a:1".into(),
        zone: "z".into(),
        state: NodeState::Draining.into(),
        replaces: 2,
    };
    check(node, b"\x01\x0a\x0ahttp://a:1\x12\x01z\x18\x03\x20\x02");
    let replicas = ReplicasRow {
        membership_index: 7,
        voters: vec![1, 2],
        learners: vec![300],
    };
    check(replicas, b"\x01\x08\x07\x12\x02\x01\x02\x1a\x02\xac\x02");
    let moving = MoveRow {
        id: 9,
        from: 1,
        to: 2,
        started_ms: 3,
        cause: MoveCause::Drain.into(),
    };
    check(moving, b"\x01\x08\x09\x10\x01\x18\x02\x20\x03\x28\x03");
    // The first version's rows had an endpoint only; a later one's may have more.
    let first = decode::<NodeRow>(Bytes::from_static(b"\x01\x0a\x01a")).unwrap();
    assert_eq!(
        (first.standing(), first.zone.as_str()),
        (NodeState::Active, "")
    );
    let later =
        decode::<NodeRow>(Bytes::from_static(b"\x01\x0a\x01a\x18\x04\xa0\x06\x01")).unwrap();
    assert_eq!(later.standing(), NodeState::Removed);
}

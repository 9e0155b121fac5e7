//! Golden bytes: what an earlier version put into its log must be read as it was meant.

use std::collections::BTreeSet;

use postino_proto::store::v1 as proto;
use postino_proto::store::v1::recipient_outcome::Outcome;

use super::*;

const ID: &str = "000304HMASW9NFZZZZZZZZZZ";

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn target() -> proto::DeliverTarget {
    proto::DeliverTarget {
        recipient: 1,
        account: 2,
    }
}

fn body() -> proto::BodySource {
    proto::BodySource {
        offset: 1,
        length: 2,
        upload_id: "u".into(),
        chunks: 4,
        upload_octets: 5,
        spooled_queue_id: "s".into(),
    }
}

fn notice() -> proto::AcceptCommand {
    proto::AcceptCommand {
        queue_id: ID.into(),
        envelope: bytes("V"),
        recipients: 3,
        local: vec![target()],
        email: bytes("E"),
        email_size: 300,
        size: 280,
        trace: bytes("T"),
        body: Some(body()),
    }
}

fn settled() -> proto::SettledLetter {
    let outcomes = [
        Outcome::Delivered(proto::Delivered {
            reply: "r".into(),
            remote: "h".into(),
        }),
        Outcome::Deferred(proto::Deferred {
            next_attempt_ms: 1,
            reply: "r".into(),
            remote: "h".into(),
            delay_notified: true,
        }),
        Outcome::Bounced(proto::Bounced {
            reply: "r".into(),
            remote: "h".into(),
        }),
    ];
    let recipient = |outcome| proto::RecipientOutcome {
        recipient: 1,
        outcome: Some(outcome),
        attempt: 5,
    };
    proto::SettledLetter {
        queue_id: ID.into(),
        recipients: outcomes.map(recipient).into(),
        notifications: vec![notice()],
    }
}

fn uids() -> Vec<proto::UidRange> {
    vec![proto::UidRange { first: 1, last: 2 }]
}

fn credential() -> proto::Credential {
    proto::Credential {
        epoch: 1,
        password_hash: "h".into(),
        has_scram: true,
        scram_salt: bytes("S"),
        scram_iterations: 5,
        scram_stored_key: bytes("K"),
        scram_server_key: bytes("V"),
    }
}

fn replicas() -> proto::RecordReplicasCommand {
    proto::RecordReplicasCommand {
        shard: 1,
        membership_index: 9,
        voters: vec![1, 2],
        learners: vec![3],
    }
}

/// A command of every kind with every field, and its bytes in hexadecimal.
fn golden() -> Vec<(Kind, &'static str)> {
    vec![
        (
            Kind::Accept(notice()),
            "010a410a18303030333034484d415357394e465a5a5a5a5a5a5a5a5a5a120156\
             18032204080110022a014530ac023898024201544a0e080110021a0175200428\
             05320173",
        ),
        (
            Kind::Settle(proto::SettleCommand {
                holder: "q".into(),
                lease_epoch: 2,
                letters: vec![settled()],
            }),
            "011293010a017110021a8b010a18303030333034484d415357394e465a5a5a5a\
             5a5a5a5a5a5a120c080112060a01721201682805121008011a0a08011201721a\
             016820012805120c080122060a017212016828051a410a18303030333034484d\
             415357394e465a5a5a5a5a5a5a5a5a5a12015618032204080110022a014530ac\
             023898024201544a0e080110021a017520042805320173",
        ),
        (
            Kind::ResolveAccept(proto::ResolveAcceptCommand {
                queue_id: ID.into(),
            }),
            "01421a0a18303030333034484d415357394e465a5a5a5a5a5a5a5a5a5a",
        ),
        (
            Kind::Retry(proto::RetryCommand {
                queue_id: ID.into(),
                limit: 2,
                after_queue_id: "a".into(),
            }),
            "011a1f0a18303030333034484d415357394e465a5a5a5a5a5a5a5a5a5a10021a\
             0161",
        ),
        (
            Kind::AcquireLease(proto::AcquireLeaseCommand {
                holder: "q".into(),
                ttl_ms: 2,
                expected_epoch: 3,
            }),
            "0122070a017110021803",
        ),
        (
            Kind::ReleaseLease(proto::ReleaseLeaseCommand {
                holder: "q".into(),
                lease_epoch: 2,
            }),
            "012a050a01711002",
        ),
        (
            Kind::UploadChunk(proto::UploadChunkCommand {
                upload_id: "u".into(),
                number: 2,
            }),
            "0132050a01751002",
        ),
        (
            Kind::Reap(proto::ReapCommand {
                uploads_before_ms: 1,
                accepted_before_ms: 2,
                filed_before_ms: 3,
                appended_before_ms: 4,
                limit: 5,
            }),
            "013a0a08011002180320042805",
        ),
        (
            Kind::Hold(proto::HoldCommand {
                cut: "c".into(),
                for_ms: 2,
            }),
            "014a050a01631002",
        ),
        (
            Kind::EndHold(proto::EndHoldCommand { cut: "c".into() }),
            "0152030a0163",
        ),
        (
            Kind::ReleaseRemote(proto::ReleaseRemoteCommand {}),
            "015a00",
        ),
        (
            Kind::Deliver(proto::DeliverCommand {
                queue_id: ID.into(),
                targets: vec![target()],
                email: bytes("E"),
                email_size: 4,
                body: Some(body()),
                trace: bytes("T"),
            }),
            "018201380a18303030333034484d415357394e465a5a5a5a5a5a5a5a5a5a1204\
             080110021a014520042a0e080110021a017520042805320173320154",
        ),
        (
            Kind::Append(proto::AppendCommand {
                account: 1,
                mailbox: "m".into(),
                upload_id: "u".into(),
                system_flags: 4,
                keywords: vec!["k".into()],
                internal_date_ms: -6,
                internal_date_offset: -7,
                email: bytes("E"),
                email_size: 9,
                body: Some(body()),
            }),
            "018a012f080112016d1a017520042a016b30faffffffffffffffff01380d4201\
             454809520e080110021a017520042805320173",
        ),
        (
            Kind::CreateMailbox(proto::CreateMailboxCommand {
                account: 1,
                name: "m".into(),
                special_use: proto::SpecialUse::Trash.into(),
                mailbox_limit: 4,
            }),
            "01920109080112016d18052004",
        ),
        (
            Kind::DeleteMailbox(proto::DeleteMailboxCommand {
                account: 1,
                name: "m".into(),
            }),
            "019a0105080112016d",
        ),
        (
            Kind::RenameMailbox(proto::RenameMailboxCommand {
                account: 1,
                from: "m".into(),
                to: "n".into(),
                mailbox_limit: 4,
                limit: 5,
                target_mailbox: 6,
            }),
            "01a2010e080112016d1a016e200428053006",
        ),
        (
            Kind::Subscribe(proto::SubscribeCommand {
                account: 1,
                name: "m".into(),
                subscribed: true,
            }),
            "01aa0107080112016d1801",
        ),
        (
            Kind::StoreFlags(proto::StoreFlagsCommand {
                account: 1,
                mailbox: 2,
                uids: uids(),
                operation: proto::FlagOperation::Remove.into(),
                system_flags: 5,
                keywords: vec!["k".into()],
                unchanged_since: Some(7),
                limit: 8,
            }),
            "01b20115080110021a04080110022003280532016b38074008",
        ),
        (
            Kind::Transfer(proto::TransferCommand {
                account: 1,
                mailbox: 2,
                uids: uids(),
                target: "m".into(),
                mode: proto::TransferMode::Move.into(),
                limit: 6,
            }),
            "01ba0111080110021a040801100222016d28023006",
        ),
        (
            Kind::Expunge(proto::ExpungeCommand {
                account: 1,
                mailbox: 2,
                uids: uids(),
                ignore_deleted_flag: true,
                limit: 5,
            }),
            "01c2010e080110021a040801100220012805",
        ),
        (
            Kind::ClaimRecent(proto::ClaimRecentCommand {
                account: 1,
                mailbox: 2,
            }),
            "01ca010408011002",
        ),
        (
            Kind::InitAccount(proto::InitAccountCommand {
                account: 1,
                address: "a@b".into(),
                credential: Some(credential()),
                quota_octets: 4,
                quota_messages: 5,
            }),
            "0182021f080112036140621a1208011201681801220153280532014b3a015620\
             042805",
        ),
        (
            Kind::DropAccount(proto::DropAccountCommand { account: 1 }),
            "018a02020801",
        ),
        (
            Kind::SetCredential(proto::SetCredentialCommand {
                account: 1,
                credential: Some(credential()),
            }),
            "019202160801121208011201681801220153280532014b3a0156",
        ),
        (
            Kind::OpenImport(proto::OpenImportCommand {
                account: 1,
                r#move: 2,
            }),
            "019a020408011002",
        ),
        (
            Kind::ImportEmail(proto::ImportEmailCommand {
                account: 1,
                r#move: 2,
                email: 3,
                content: bytes("C"),
                size: 5,
                body: Some(body()),
            }),
            "01a2021b0801100218032201432805320e080110021a017520042805320173",
        ),
        (
            Kind::ImportRows(proto::ImportRowsCommand {
                account: 1,
                r#move: 2,
                family: "f".into(),
                rows: vec![proto::ImportedRow {
                    key: bytes("k"),
                    value: bytes("v"),
                }],
            }),
            "01aa020f080110021a016622060a016b120176",
        ),
        (
            Kind::FinishImport(proto::FinishImportCommand {
                account: 1,
                r#move: 2,
                row: bytes("r"),
                limit: 4,
            }),
            "01b20209080110021a01722004",
        ),
        (
            Kind::CloseForMove(proto::CloseForMoveCommand {
                account: 1,
                r#move: 2,
            }),
            "01ba020408011002",
        ),
        (
            Kind::LeaveAccount(proto::LeaveAccountCommand {
                account: 1,
                r#move: 2,
                to: 3,
            }),
            "01c20206080110021803",
        ),
        (
            Kind::AbandonImport(proto::AbandonImportCommand {
                account: 1,
                r#move: 2,
                home: 3,
                limit: 4,
            }),
            "01ca02080801100218032004",
        ),
        (
            Kind::ReopenAccount(proto::ReopenAccountCommand {
                account: 1,
                r#move: 2,
            }),
            "01d2020408011002",
        ),
        (
            Kind::AddDomain(proto::AddDomainCommand { domain: "b".into() }),
            "018203030a0162",
        ),
        (
            Kind::RemoveDomain(proto::RemoveDomainCommand { domain: "b".into() }),
            "018a03030a0162",
        ),
        (
            Kind::CreateAccount(proto::CreateAccountCommand {
                domain: "b".into(),
                local_part: "a".into(),
                address: "A@b".into(),
                credential: Some(credential()),
                mail_shards: 5,
                quota_octets: 6,
                quota_messages: 7,
            }),
            "019203250a01621201611a03414062221208011201681801220153280532014b\
             3a0156280530063807",
        ),
        (
            Kind::ActivateAccount(proto::ActivateAccountCommand { account: 1 }),
            "019a03020801",
        ),
        (
            Kind::CloseAccount(proto::CloseAccountCommand {
                domain: "b".into(),
                local_part: "a".into(),
            }),
            "01a203060a0162120161",
        ),
        (
            Kind::ForgetAccount(proto::ForgetAccountCommand { account: 1 }),
            "01aa03020801",
        ),
        (
            Kind::SetAlias(proto::SetAliasCommand {
                domain: "b".into(),
                local_part: "a".into(),
                address: "A@b".into(),
                targets: vec!["c@d".into()],
            }),
            "01b203100a01621201611a034140622203634064",
        ),
        (
            Kind::RemoveAlias(proto::RemoveAliasCommand {
                domain: "b".into(),
                local_part: "a".into(),
            }),
            "01ba03060a0162120161",
        ),
        (
            Kind::AllocateNode(proto::AllocateNodeCommand {
                endpoint: "e".into(),
            }),
            "01c203030a0165",
        ),
        (
            Kind::RecordNode(proto::RecordNodeCommand {
                node: 2,
                endpoint: "e".into(),
                zone: Some(String::new()),
                state: proto::NodeState::Draining.into(),
            }),
            "01ca030908021201651a002003",
        ),
        (
            Kind::RecordReplicas(replicas()),
            "01d2030b080110091a020102220103",
        ),
        (
            Kind::BeginMove(proto::BeginMoveCommand {
                shard: 1,
                from: 2,
                to: 3,
                cause: proto::MoveCause::Balance.into(),
                limit: 5,
            }),
            "01da030a08011002180320042805",
        ),
        (
            Kind::EndMove(proto::EndMoveCommand {
                shard: 1,
                r#move: 7,
                replicas: Some(replicas()),
            }),
            "01e20311080110071a0b080110091a020102220103",
        ),
        (
            Kind::BeginAccountMove(proto::BeginAccountMoveCommand {
                domain: "b".into(),
                local_part: "a".into(),
                to: 3,
                mail_shards: 4,
            }),
            "01ea030a0a016212016118032004",
        ),
        (
            Kind::SwitchAccount(proto::SwitchAccountCommand {
                account: 1,
                r#move: 2,
            }),
            "01f2030408011002",
        ),
        (
            Kind::EndAccountMove(proto::EndAccountMoveCommand {
                account: 1,
                r#move: 2,
            }),
            "01fa030408011002",
        ),
        (Kind::Checksum(proto::ChecksumCommand {}), "01820400"),
        (
            Kind::RaiseLevel(proto::RaiseLevelCommand { level: 2 }),
            "018a04020802",
        ),
        (
            Kind::CallOffAccountMove(proto::CallOffAccountMoveCommand {
                domain: "b".into(),
                local_part: "a".into(),
            }),
            "019204060a0162120161",
        ),
    ]
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let octet = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(octet).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn commands_are_golden() {
    for (kind, hex) in golden() {
        assert_eq!(
            to_hex(&encode(kind.clone())),
            to_hex(&from_hex(hex)),
            "{kind:?}"
        );
        assert_eq!(decode(from_hex(hex).into()).unwrap(), kind);
    }
}

#[test]
fn every_kind_of_command_is_golden() {
    // The field number of a kind, in front of an empty command.
    let known = (1u32..4096).filter(|field| {
        let mut row = vec![VERSION];
        prost::encoding::encode_key(*field, prost::encoding::WireType::LengthDelimited, &mut row);
        row.push(0);
        decode(row.into()).is_ok()
    });
    let met = golden().into_iter().map(|(_, hex)| {
        let row = from_hex(hex);
        prost::encoding::decode_key(&mut &row[1..]).unwrap().0
    });
    assert_eq!(met.collect::<BTreeSet<_>>(), known.collect());
}

#[test]
fn marks_are_told_by_their_first_bytes() {
    for (kind, hex) in golden() {
        let is_mark = matches!(kind, Kind::Checksum(_));
        assert_eq!(super::is_mark(&from_hex(hex)), is_mark, "{kind:?}");
    }
}

#[test]
fn what_this_version_does_not_know_is_an_error() {
    // Field 900 of the oneof, an empty message.
    let unknown = decode(Bytes::from_static(b"\x01\xa2\x38\x00"));
    assert!(matches!(unknown, Err(CommandError::Kind)));
    let newer = decode(Bytes::from_static(b"\x02"));
    assert!(matches!(newer, Err(CommandError::Version(Some(2)))));
    assert!(matches!(
        decode(Bytes::new()),
        Err(CommandError::Version(None))
    ));
}

use super::*;

/// A log that uses most commands, refusals included.
fn busy_log() -> Bench {
    let mut bench = Bench::new();
    bench.fill(6);
    bench.apply_with_body(accept(1, &[(0, 1), (1, 2)], 3), 100);
    bench.apply_with_body(accept(1, &[(0, 1), (1, 2)], 3), 100);
    for number in [0, 1, 1] {
        let chunk = UploadChunkCommand {
            upload_id: "u".into(),
            number,
        };
        bench.apply_with_body(Kind::UploadChunk(chunk), 40);
    }
    bench.apply(Kind::StoreFlags(StoreFlagsCommand {
        account: 1,
        mailbox: INBOX,
        uids: vec![range(2, 4)],
        operation: FlagOperation::Add.into(),
        system_flags: 9,
        keywords: vec!["$x".into()],
        unchanged_since: None,
        limit: 2,
    }));
    // Clocks differ between leaders: this one is behind.
    bench.now_ms -= 5000;
    for (mode, target) in [
        (TransferMode::Copy, "Trash"),
        (TransferMode::Move, "Junk"),
        (TransferMode::Copy, "none"),
    ] {
        bench.apply(Kind::Transfer(TransferCommand {
            account: 1,
            mailbox: INBOX,
            uids: vec![range(1, 3)],
            target: target.into(),
            mode: mode.into(),
            limit: 100,
        }));
    }
    bench.apply(Kind::Expunge(ExpungeCommand {
        account: 1,
        mailbox: INBOX,
        limit: 100,
        ..ExpungeCommand::default()
    }));
    bench.apply(Kind::DeleteMailbox(DeleteMailboxCommand {
        account: 1,
        name: "Junk".into(),
    }));
    bench.apply(Kind::Reap(ReapCommand {
        uploads_before_ms: START_MS + 1,
        limit: 1,
        ..ReapCommand::default()
    }));
    bench.apply(Kind::DropAccount(DropAccountCommand { account: 2 }));
    bench
}

#[test]
fn the_same_entries_make_the_same_state_however_they_come() {
    let first = busy_log();
    let expected = super::super::checksum(&first.db, SHARD).unwrap();
    for size in [1, 3, first.log.len()] {
        let other = Bench::empty(SHARD);
        for entries in first.log.chunks(size) {
            other.apply_entries(entries.to_vec());
        }
        let sum = super::super::checksum(&other.db, SHARD).unwrap();
        assert_eq!(sum, expected, "in batches of {size}");
    }
    let shorter = Bench::empty(SHARD);
    shorter.apply_entries(first.log[..first.log.len() - 1].to_vec());
    assert_ne!(
        super::super::checksum(&shorter.db, SHARD).unwrap(),
        expected
    );
}

#[test]
fn a_refused_command_leaves_no_trace_but_its_octets() {
    let mut bench = Bench::new();
    bench.fill(1);
    let before = (bench.mailbox(1, INBOX), bench.account(1));
    let refused = bench.apply_with_body(
        Kind::Append(AppendCommand {
            account: 1,
            mailbox: "INBOX".into(),
            upload_id: "u".into(),
            keywords: vec!["$new".into()],
            email_size: 5000,
            ..AppendCommand::default()
        }),
        77,
    );
    assert!(matches!(refused, Answer::Refused(_)));
    assert_eq!((bench.mailbox(1, INBOX), bench.account(1)), before);
    assert_eq!(bench.gone(), 77);
}

#[test]
fn progress_is_written_even_without_entries() {
    let bench = Bench::empty(SHARD);
    let progress = Progress::new(bench.space, vec![7]);
    let mut batch: WriteBatch = bench.db.batch();
    progress.put(&mut batch);
    assert_eq!(batch.len(), 1);
    assert!(
        bench
            .applier
            .apply(SHARD, Vec::new(), progress)
            .unwrap()
            .is_empty()
    );
    assert_eq!(bench.count(Family::Raft, bench.space.key()), 1);
    assert_eq!(bench.count(Family::Spool, bench.space.key()), 0);
}

use super::*;

fn create(name: &str) -> Kind {
    Kind::CreateMailbox(CreateMailboxCommand {
        account: 1,
        name: name.into(),
        special_use: 0,
        mailbox_limit: 100,
    })
}

fn store(
    uids: Vec<UidRange>,
    operation: FlagOperation,
    flags: u32,
    keywords: &[&str],
) -> StoreFlagsCommand {
    StoreFlagsCommand {
        account: 1,
        mailbox: INBOX,
        uids,
        operation: operation.into(),
        system_flags: flags,
        keywords: keywords.iter().map(|&keyword| keyword.to_owned()).collect(),
        unchanged_since: None,
        limit: 100,
    }
}

fn flags(answer: Answer) -> StoreFlagsAnswer {
    match answer {
        Answer::Flags(answer) => answer,
        answer => panic!("{answer:?}"),
    }
}

fn transfer(mode: TransferMode, uids: Vec<UidRange>, target: &str) -> Kind {
    Kind::Transfer(TransferCommand {
        account: 1,
        mailbox: INBOX,
        uids,
        target: target.into(),
        mode: mode.into(),
        limit: 100,
    })
}

fn pairs(answer: Answer) -> Vec<(u32, u32)> {
    match answer {
        Answer::Transferred(answer) => answer
            .pairs
            .iter()
            .map(|pair| (pair.source, pair.target))
            .collect(),
        answer => panic!("{answer:?}"),
    }
}

fn expunge(uids: Vec<UidRange>) -> Kind {
    Kind::Expunge(ExpungeCommand {
        account: 1,
        mailbox: INBOX,
        uids,
        ignore_deleted_flag: false,
        limit: 100,
    })
}

#[test]
fn mailboxes_come_with_their_parents_and_rising_uidvalidity() {
    let mut bench = Bench::new();
    bench.done(create("a/b/c"));
    let ids: Vec<u64> = ["a", "a/b", "a/b/c"]
        .iter()
        .map(|name| bench.named(1, name).unwrap())
        .collect();
    assert_eq!(ids, [6, 7, 8]);
    assert_eq!(bench.refused(create("a/b")), RefusalKind::AlreadyExists);
    assert_eq!(bench.refused(create("a//b")), RefusalKind::Invalid);
    let old = bench.mailbox(1, 8).uid_validity;
    bench.done(Kind::DeleteMailbox(DeleteMailboxCommand {
        account: 1,
        name: "a/b/c".into(),
    }));
    bench.done(create("a/b/c"));
    assert_eq!(bench.named(1, "a/b/c"), Some(9));
    assert!(bench.mailbox(1, 9).uid_validity > old);
    let limited = Kind::CreateMailbox(CreateMailboxCommand {
        account: 1,
        name: "b/c".into(),
        special_use: 0,
        mailbox_limit: 9,
    });
    assert_eq!(bench.refused(limited), RefusalKind::TooBig);
    // The parent that fitted is not left behind.
    assert_eq!(bench.named(1, "b"), None);
}

#[test]
fn a_rename_takes_what_is_below_with_it() {
    let mut bench = Bench::new();
    for name in ["a/b", "ab", "x"] {
        bench.done(create(name));
    }
    let rename = |from: &str, to: &str| {
        Kind::RenameMailbox(RenameMailboxCommand {
            account: 1,
            from: from.into(),
            to: to.into(),
            mailbox_limit: 100,
            limit: 10,
            target_mailbox: 0,
        })
    };
    let (a, b) = (bench.named(1, "a"), bench.named(1, "a/b"));
    bench.done(rename("a", "n/a"));
    assert_eq!((bench.named(1, "n/a"), bench.named(1, "n/a/b")), (a, b));
    assert_eq!((bench.named(1, "a"), bench.named(1, "a/b")), (None, None));
    assert!(bench.named(1, "n").is_some() && bench.named(1, "ab").is_some());
    assert_eq!(bench.mailbox(1, b.unwrap()).name, "n/a/b");
    assert_eq!(
        bench.refused(rename("n/a", "x")),
        RefusalKind::AlreadyExists
    );
    assert_eq!(
        bench.refused(rename("n", "n/y")),
        RefusalKind::AlreadyExists
    );
    assert_eq!(bench.refused(rename("none", "y")), RefusalKind::NotFound);
}

#[test]
fn renaming_inbox_moves_its_messages() {
    let mut bench = Bench::new();
    bench.fill(5);
    let mut command = RenameMailboxCommand {
        account: 1,
        from: "INBOX".into(),
        to: "old".into(),
        mailbox_limit: 100,
        limit: 2,
        target_mailbox: 0,
    };
    loop {
        let Answer::Renamed(answer) = bench.apply(Kind::RenameMailbox(command.clone())) else {
            panic!("not renamed");
        };
        if answer.next_uid == 0 {
            break;
        }
        command.target_mailbox = answer.target_mailbox;
    }
    let old = bench.named(1, "old").unwrap();
    assert_eq!(
        (bench.messages(1, INBOX).len(), bench.messages(1, old).len()),
        (0, 5)
    );
    assert_eq!(bench.mailbox(1, INBOX).uid_next, 6);
    bench.check_counts(1, INBOX);
    bench.check_counts(1, old);
}

#[test]
fn uids_and_mod_sequences_only_rise() {
    let mut bench = Bench::new();
    bench.fill(3);
    let before = bench.mailbox(1, INBOX);
    let uids: Vec<u32> = bench
        .messages(1, INBOX)
        .iter()
        .map(|(uid, _)| *uid)
        .collect();
    assert_eq!(uids, [1, 2, 3]);
    bench.apply(Kind::StoreFlags(store(
        vec![range(3, 3)],
        FlagOperation::Add,
        8,
        &[],
    )));
    bench.done(expunge(vec![]));
    bench.fill(0);
    bench.apply_with_body(accept(50, &[(0, 1)], 1), 100);
    let after = bench.mailbox(1, INBOX);
    assert_eq!(bench.messages(1, INBOX).last().unwrap().0, 4);
    assert!(after.highest_mod_seq > before.highest_mod_seq);
    assert_eq!(
        after.highest_mod_seq,
        bench.account(1).unwrap().highest_mod_seq
    );
    bench.check_counts(1, INBOX);
}

#[test]
fn flags_change_and_only_a_change_counts() {
    let mut bench = Bench::new();
    bench.fill(4);
    let add = store(vec![range(1, 2)], FlagOperation::Add, 1, &["$x", "y"]);
    let answer = flags(bench.apply(Kind::StoreFlags(add.clone())));
    assert_eq!(answer.messages[0].keywords, ["$x", "y"]);
    let mod_seq = answer.highest_mod_seq;
    assert_eq!(answer.messages[1].mod_seq, mod_seq);
    // Again: nothing changes, so no new mod-sequence.
    let again = flags(bench.apply(Kind::StoreFlags(add)));
    assert_eq!(again.highest_mod_seq, mod_seq);
    bench.check_counts(1, INBOX);

    let remove = store(
        vec![range(1, 9)],
        FlagOperation::Remove,
        1,
        &["y", "unknown"],
    );
    let answer = flags(bench.apply(Kind::StoreFlags(remove)));
    assert_eq!(answer.messages.len(), 4);
    assert_eq!(answer.messages[0].keywords, ["$x"]);
    bench.check_counts(1, INBOX);
    let replace = store(vec![range(1, 1)], FlagOperation::Replace, 16, &[]);
    let answer = flags(bench.apply(Kind::StoreFlags(replace)));
    assert_eq!(
        (
            answer.messages[0].system_flags,
            answer.messages[0].keywords.len()
        ),
        (16, 0)
    );
    bench.check_counts(1, INBOX);
}

#[test]
fn a_conditional_store_leaves_what_has_changed() {
    let mut bench = Bench::new();
    bench.fill(3);
    let since = bench.mailbox(1, INBOX).highest_mod_seq;
    bench.apply(Kind::StoreFlags(store(
        vec![range(2, 2)],
        FlagOperation::Add,
        1,
        &[],
    )));
    let conditional = StoreFlagsCommand {
        unchanged_since: Some(since),
        ..store(vec![range(1, 3)], FlagOperation::Add, 4, &[])
    };
    let answer = flags(bench.apply(Kind::StoreFlags(conditional)));
    assert_eq!(answer.modified, [range(2, 2)]);
    let changed: Vec<u32> = answer.messages.iter().map(|row| row.uid).collect();
    assert_eq!(changed, [1, 3]);
}

#[test]
fn large_requests_go_on_where_the_limit_stopped_them() {
    let mut bench = Bench::new();
    bench.fill(5);
    let limited = StoreFlagsCommand {
        limit: 2,
        ..store(vec![range(1, 1), range(3, 5)], FlagOperation::Add, 8, &[])
    };
    let answer = flags(bench.apply(Kind::StoreFlags(limited)));
    let changed: Vec<u32> = answer.messages.iter().map(|row| row.uid).collect();
    assert_eq!((changed, answer.next_uid), (vec![1, 3], 4));
}

#[test]
fn keywords_that_nobody_has_make_room() {
    let mut bench = Bench::new();
    bench.fill(1);
    let names: Vec<String> = (0..64).map(|n| format!("k{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let all = store(vec![range(1, 1)], FlagOperation::Replace, 0, &names);
    assert_eq!(
        flags(bench.apply(Kind::StoreFlags(all))).messages[0]
            .keywords
            .len(),
        64
    );
    let more = store(vec![range(1, 1)], FlagOperation::Add, 0, &["more"]);
    assert_eq!(
        bench.refused(Kind::StoreFlags(more.clone())),
        RefusalKind::TooBig
    );
    let one = store(vec![range(1, 1)], FlagOperation::Remove, 0, &["k7"]);
    bench.done(Kind::StoreFlags(one));
    let answer = flags(bench.apply(Kind::StoreFlags(more)));
    assert_eq!(answer.messages[0].keywords.len(), 64);
    assert!(answer.messages[0].keywords.contains(&"more".to_owned()));
    bench.check_counts(1, INBOX);
}

#[test]
fn copies_share_the_email_and_moves_keep_it() {
    let mut bench = Bench::new();
    bench.fill(3);
    bench.apply(Kind::StoreFlags(store(
        vec![range(1, 1)],
        FlagOperation::Add,
        8,
        &["$x"],
    )));
    let answer = bench.apply(transfer(TransferMode::Copy, vec![range(1, 2)], "Trash"));
    assert_eq!(pairs(answer), [(1, 1), (2, 2)]);
    let trash = bench.named(1, "Trash").unwrap();
    assert_eq!(bench.emails(), 3);
    assert_eq!(bench.mailbox(1, trash).keywords_in_use(), ["$x"]);
    let answer = bench.apply(transfer(TransferMode::Move, vec![range(2, 3)], "Trash"));
    assert_eq!(pairs(answer), [(2, 3), (3, 4)]);
    assert_eq!(
        (
            bench.messages(1, INBOX).len(),
            bench.messages(1, trash).len()
        ),
        (1, 4)
    );
    for id in [INBOX, trash] {
        bench.check_counts(1, id);
    }
    assert_eq!(bench.account(1).unwrap().messages, 5);
    // The first message and its copy share one email: only the second removal frees it.
    bench.done(expunge(vec![]));
    assert_eq!((bench.emails(), bench.gone()), (3, 0));
    let rest = Kind::Expunge(ExpungeCommand {
        account: 1,
        mailbox: trash,
        uids: vec![range(1, u32::MAX)],
        ignore_deleted_flag: true,
        limit: 100,
    });
    bench.done(rest);
    assert_eq!((bench.emails(), bench.gone()), (0, 300));
    let account = bench.account(1).unwrap();
    assert_eq!((account.messages, account.octets), (0, 0));
    assert_eq!(
        bench.refused(transfer(TransferMode::Copy, vec![], "none")),
        RefusalKind::NotFound
    );
}

#[test]
fn a_message_may_be_copied_and_moved_within_its_mailbox() {
    let mut bench = Bench::new();
    bench.fill(2);
    let answer = bench.apply(transfer(TransferMode::Copy, vec![range(1, 1)], "INBOX"));
    assert_eq!(pairs(answer), [(1, 3)]);
    let answer = bench.apply(transfer(TransferMode::Move, vec![range(1, 2)], "INBOX"));
    assert_eq!(pairs(answer), [(1, 4), (2, 5)]);
    assert_eq!(bench.runs(1, INBOX), [(3, 5)]);
    bench.check_counts(1, INBOX);
}

#[test]
fn expunge_leaves_tombstones_and_cuts_the_runs_of_uids() {
    let mut bench = Bench::new();
    bench.fill(8);
    assert_eq!(bench.runs(1, INBOX), [(1, 8)]);
    let delete = |uids| Kind::StoreFlags(store(uids, FlagOperation::Add, 8, &[]));
    bench.done(delete(vec![range(3, 4), range(6, 6), range(8, 8)]));
    // UID EXPUNGE takes only those that are asked for and \Deleted.
    let Answer::Expunged(answer) = bench.apply(expunge(vec![range(1, 5)])) else {
        panic!("not expunged");
    };
    assert_eq!(answer.expunged, [range(3, 4)]);
    assert_eq!(bench.runs(1, INBOX), [(1, 2), (5, 8)]);
    let Answer::Expunged(answer) = bench.apply(expunge(vec![])) else {
        panic!("not expunged");
    };
    assert_eq!(answer.expunged, [range(6, 6), range(8, 8)]);
    assert_eq!(bench.runs(1, INBOX), [(1, 2), (5, 5), (7, 7)]);
    bench.check_counts(1, INBOX);
    let tombstones = mailbox::tombstones(bench.space, 1, INBOX, 0);
    let tombstones = Rows::page(&bench.db, Family::Change, &tombstones, 99).unwrap();
    let tombstones: Vec<_> = tombstones
        .iter()
        .map(|(key, last)| {
            (
                mailbox::parse_change(key).unwrap().1,
                last_u32(last).unwrap(),
            )
        })
        .collect();
    assert_eq!(tombstones, [(3, 4), (6, 6), (8, 8)]);
    // Every one goes, from both ends of the runs.
    bench.done(delete(vec![range(1, 9)]));
    bench.done(expunge(vec![range(5, 7)]));
    bench.done(expunge(vec![range(2, 2)]));
    bench.done(expunge(vec![range(1, 1)]));
    assert_eq!(bench.runs(1, INBOX), []);
    bench.fill(0);
    bench.apply_with_body(accept(70, &[(0, 1)], 1), 100);
    assert_eq!(bench.runs(1, INBOX), [(9, 9)]);
}

#[test]
fn recent_messages_belong_to_who_asks_first() {
    let mut bench = Bench::new();
    bench.fill(2);
    let claim = Kind::ClaimRecent(ClaimRecentCommand {
        account: 1,
        mailbox: INBOX,
    });
    let recent = |answer| match answer {
        Answer::Recent(answer) => answer.first_recent,
        answer => panic!("{answer:?}"),
    };
    assert_eq!(recent(bench.apply(claim.clone())), 1);
    assert_eq!(recent(bench.apply(claim.clone())), 3);
    bench.apply_with_body(accept(60, &[(0, 1)], 1), 100);
    assert_eq!(recent(bench.apply(claim)), 3);
}

#[test]
fn append_files_once_and_keeps_to_the_quota() {
    let mut bench = Bench::new();
    let append = |upload: &str, size| {
        Kind::Append(AppendCommand {
            account: 1,
            mailbox: "Drafts".into(),
            upload_id: upload.into(),
            system_flags: 16,
            keywords: vec!["$x".into()],
            internal_date_ms: 5000,
            internal_date_offset: -120,
            email: Bytes::new(),
            email_size: size,
            body: Some(BodySource {
                length: 10,
                ..BodySource::default()
            }),
        })
    };
    let first = bench.apply_with_body(append("u", 600), 10);
    let again = bench.apply_with_body(append("u", 600), 10);
    assert_eq!(first, again);
    let drafts = bench.named(1, "Drafts").unwrap();
    let messages = bench.messages(1, drafts);
    assert_eq!(messages.len(), 1);
    let row = messages[0].1;
    assert_eq!(
        (row.system_flags, row.date_ms, row.date_offset),
        (16, 5000, -120)
    );
    assert_eq!(bench.gone(), 10);
    // The quota is 1000 octets.
    let over = bench.apply_with_body(append("v", 600), 10);
    assert!(matches!(over, Answer::Refused(r) if r.kind() == RefusalKind::OverQuota));
    // Mail that was accepted is filed regardless.
    bench.fill(9);
    assert!(bench.account(1).unwrap().octets > 1000);
    let over = transfer(TransferMode::Copy, vec![range(1, 1)], "Drafts");
    assert_eq!(bench.refused(over), RefusalKind::OverQuota);
    assert_eq!(
        pairs(bench.apply(transfer(TransferMode::Move, vec![range(1, 1)], "Drafts"))).len(),
        1
    );
}

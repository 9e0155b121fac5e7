//! Accounts that come to a shard and leave it: what is refused, and what may come twice.

use super::*;
use crate::model::mailbox as rows;
use crate::model::message as messages;
use crate::model::{Range, encode, spool};

/// A shard at the level at which accounts move, with accounts 1 and 2.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.done(Kind::RaiseLevel(RaiseLevelCommand { level: 3 }));
    bench
}

fn open(account: u64, by: u64) -> Kind {
    Kind::OpenImport(OpenImportCommand {
        account,
        r#move: by,
    })
}

fn email(account: u64, by: u64, email: u64) -> Kind {
    Kind::ImportEmail(ImportEmailCommand {
        account,
        r#move: by,
        email,
        content: Bytes::from_static(b"C"),
        size: 100,
        body: Some(BodySource {
            length: 100,
            ..BodySource::default()
        }),
    })
}

fn import(account: u64, by: u64, family: Family, rows: Vec<(Vec<u8>, Bytes)>) -> Kind {
    let row = |(key, value): (Vec<u8>, Bytes)| ImportedRow {
        key: key[8..].to_vec().into(),
        value,
    };
    Kind::ImportRows(ImportRowsCommand {
        account,
        r#move: by,
        family: family.name().into(),
        rows: rows.into_iter().map(row).collect(),
    })
}

fn finish(account: u64, by: u64) -> Kind {
    let row = account::AccountRow {
        address: "a@example.org".into(),
        messages: 1,
        mailboxes: 1,
        ..account::AccountRow::default()
    };
    Kind::FinishImport(FinishImportCommand {
        account,
        r#move: by,
        row: encode(&row),
        limit: 1,
    })
}

fn close(account: u64, by: u64) -> Kind {
    Kind::CloseForMove(CloseForMoveCommand {
        account,
        r#move: by,
    })
}

fn leave(account: u64, by: u64, to: u32) -> Kind {
    Kind::LeaveAccount(LeaveAccountCommand {
        account,
        r#move: by,
        to,
    })
}

fn finished(answer: Answer) -> (bool, bool) {
    match answer {
        Answer::Imported(answer) => (answer.finished, answer.more),
        answer => panic!("{answer:?}"),
    }
}

/// The rows of INBOX with one message of this email.
fn inbox(bench: &Bench, account: u64, email: u64) -> Vec<(Vec<u8>, Bytes)> {
    let mut row = MailboxRow::new("INBOX", 5, 0);
    (row.uid_next, row.exists, row.unseen) = (2, 1, 1);
    let message = Row {
        email,
        mod_seq: 9,
        size: 100,
        ..Row::default()
    };
    let space = bench.space;
    vec![
        (
            rows::mailbox(space, account, INBOX).into_vec(),
            encode(&row),
        ),
        (
            messages::message(space, account, INBOX, 1).into_vec(),
            message.encode(),
        ),
    ]
}

fn deliver(number: u64, account: u64) -> Kind {
    let letter = accept_command(number, &[(0, account)], 1);
    Kind::Deliver(DeliverCommand {
        queue_id: letter.queue_id,
        targets: letter.local,
        email: letter.email,
        email_size: letter.email_size,
        body: letter.body,
        ..DeliverCommand::default()
    })
}

fn delivered(answer: Answer) -> (DeliverStatus, u32) {
    match answer {
        Answer::Delivered(answer) => (answer.results[0].status(), answer.results[0].shard),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn what_comes_twice_counts_once_and_what_is_late_is_refused() {
    let mut bench = bench();
    let (first, second) = (7 << 44 | 1, 7 << 44 | 2);
    assert_eq!(finished(bench.apply(open(9, 5))), (false, false));
    assert_eq!(finished(bench.apply(open(9, 5))), (false, false));
    assert_eq!(bench.account(9), None);
    for id in [first, second, first] {
        let answer = bench.apply_with_body(email(9, 5, id), 100);
        assert_eq!(answer, Answer::Done(Done {}));
    }
    assert_eq!((bench.emails(), bench.gone()), (2, 100));
    for _ in 0..2 {
        let rows = inbox(&bench, 9, first);
        bench.done(import(9, 5, Family::Mailbox, rows));
    }
    // Nobody sees it yet.
    assert_eq!(bench.account(9), None);
    assert_eq!(
        delivered(bench.apply_with_body(deliver(1, 9), 100)),
        (DeliverStatus::NoAccount, 0)
    );
    let precondition = RefusalKind::FailedPrecondition;
    for late in [open(9, 4), email(9, 4, 1), finish(9, 4), close(9, 4)] {
        assert_eq!(bench.refused(late), precondition);
    }
    // Nothing but the end says what its own row is.
    let mut without = finish(9, 5);
    if let Kind::FinishImport(command) = &mut without {
        command.row = Bytes::new();
    }
    assert_eq!(bench.refused(without.clone()), precondition);
    // One email that came ahead is let go with each; the second was expunged meanwhile.
    assert_eq!(finished(bench.apply(finish(9, 5))), (true, true));
    assert!(bench.account(9).is_some());
    assert_eq!(finished(bench.apply(finish(9, 5))), (true, true));
    assert_eq!(finished(bench.apply(without.clone())), (true, false));
    assert_eq!(finished(bench.apply(without)), (true, false));
    assert_eq!(finished(bench.apply(finish(9, 5))), (true, false));
    assert_eq!(finished(bench.apply(open(9, 5))), (true, false));
    assert_eq!(bench.account(9).unwrap().address, "a@example.org");
    assert_eq!(bench.emails(), 1);
    let rows = inbox(&bench, 9, first);
    assert_eq!(
        bench.refused(import(9, 5, Family::Mailbox, rows)),
        precondition
    );
    // The message is the only one that shows its email.
    let expunge = ExpungeCommand {
        account: 9,
        mailbox: INBOX,
        uids: vec![range(1, 1)],
        ignore_deleted_flag: true,
        limit: 10,
    };
    bench.done(Kind::Expunge(expunge));
    assert_eq!(bench.emails(), 0);
    // All octets but those of the letter above, which nobody has.
    assert_eq!(bench.gone(), 400);
}

#[test]
fn rows_that_do_not_belong_are_refused() {
    let mut bench = bench();
    bench.done(open(9, 5));
    let space = bench.space;
    let own = account::account(space, 9).into_vec();
    let of_another = rows::subscribed(space, 1, "x").into_vec();
    let (invalid, missing) = (RefusalKind::Invalid, RefusalKind::FailedPrecondition);
    let row = |key| vec![(key, Bytes::from_static(b"\x01"))];
    let without_email = inbox(&bench, 9, 3);
    for (family, rows, refusal) in [
        (Family::Mailbox, row(own.clone()), invalid),
        (Family::Mailbox, row(of_another.clone()), invalid),
        (Family::Change, row(of_another), invalid),
        (Family::Directory, row(own), invalid),
        (Family::Mailbox, without_email, missing),
    ] {
        assert_eq!(bench.refused(import(9, 5, family, rows)), refusal);
    }
}

#[test]
fn a_mark_that_would_be_forgotten_here_is_not_taken() {
    let mut bench = bench();
    bench.now_ms += 1_000_000;
    bench.done(Kind::Reap(ReapCommand {
        filed_before_ms: START_MS + 500,
        limit: 10,
        ..ReapCommand::default()
    }));
    bench.done(open(9, 5));
    let mark = |at_ms| {
        let id = QueueId::mint(ShardId::new(3), at_ms, 1).unwrap();
        let key = spool::filed(bench.space, &id, 0).into_vec();
        (key, Bytes::from_static(b"\x01"))
    };
    let marks = vec![mark(START_MS), mark(START_MS + 1000)];
    bench.done(import(9, 5, Family::Dedupe, marks));
    let prefix = Range::prefix(bench.space.key());
    let kept = Rows::page(&bench.db, Family::Dedupe, &prefix, 9).unwrap();
    assert_eq!(kept.len(), 1);
}

#[test]
fn an_account_that_leaves_is_closed_and_then_known_to_be_elsewhere() {
    let mut bench = bench();
    bench.fill(3);
    bench.done(close(1, 5));
    bench.done(close(1, 5));
    let flags = || {
        Kind::StoreFlags(StoreFlagsCommand {
            account: 1,
            mailbox: INBOX,
            uids: vec![range(1, 3)],
            operation: FlagOperation::Add.into(),
            system_flags: 1,
            limit: 10,
            ..StoreFlagsCommand::default()
        })
    };
    let claim = || {
        Kind::ClaimRecent(ClaimRecentCommand {
            account: 1,
            mailbox: INBOX,
        })
    };
    let password = || {
        Kind::SetCredential(SetCredentialCommand {
            account: 1,
            credential: None,
        })
    };
    let create = || {
        Kind::CreateMailbox(CreateMailboxCommand {
            account: 1,
            name: "x".into(),
            mailbox_limit: 10,
            ..CreateMailboxCommand::default()
        })
    };
    for change in [flags(), claim(), password(), create()] {
        assert_eq!(bench.refused(change), RefusalKind::Moving);
    }
    match bench.apply_with_body(deliver(77, 1), 100) {
        Answer::Refused(refused) => assert_eq!(refused.kind(), RefusalKind::Moving),
        answer => panic!("{answer:?}"),
    }
    // A letter that comes for it waits in the spool; another account gets its own at once.
    let answer = bench.apply_with_body(accept(50, &[(0, 1)], 1), 100);
    assert!(!accepted(answer).filed);
    let answer = bench.apply_with_body(accept(51, &[(0, 2)], 1), 100);
    assert!(accepted(answer).filed);

    // One of an earlier move is late, and changes nothing.
    bench.done(leave(1, 4, 3));
    assert_eq!(bench.refused(flags()), RefusalKind::Moving);
    bench.done(leave(1, 5, 3));
    bench.done(leave(1, 5, 3));
    for change in [flags(), claim(), password(), create()] {
        assert_eq!(bench.refused(change), RefusalKind::Moved);
    }
    let elsewhere = (DeliverStatus::Moved, 3);
    assert_eq!(
        delivered(bench.apply_with_body(deliver(77, 1), 100)),
        elsewhere
    );
    let again = bench.apply_with_body(deliver(1000, 1), 100);
    assert_eq!(delivered(again), (DeliverStatus::Duplicate, 0));

    // It comes back only once everything of it is cleared away, and by a later move.
    assert_eq!(bench.refused(open(1, 6)), RefusalKind::Held);
    let reap = || {
        Kind::Reap(ReapCommand {
            limit: 100,
            ..ReapCommand::default()
        })
    };
    for _ in 0..10 {
        bench.done(reap());
    }
    assert_eq!(bench.messages(1, INBOX), []);
    assert_eq!(bench.refused(open(1, 5)), RefusalKind::FailedPrecondition);
    bench.done(open(1, 6));
    assert_eq!(finished(bench.apply(finish(1, 6))), (true, false));
    // What is late of the move that took it away changes nothing.
    bench.done(leave(1, 5, 3));
    assert!(bench.account(1).is_some());
}

fn abandon(account: u64, by: u64) -> Kind {
    Kind::AbandonImport(AbandonImportCommand {
        account,
        r#move: by,
        home: 3,
        limit: 1,
    })
}

fn reopen(account: u64, by: u64) -> Kind {
    Kind::ReopenAccount(ReopenAccountCommand {
        account,
        r#move: by,
    })
}

#[test]
fn an_import_that_is_abandoned_leaves_nothing_and_is_not_taken_up_again() {
    let mut bench = bench();
    let (first, second) = (7 << 44 | 1, 7 << 44 | 2);
    bench.done(open(9, 5));
    for id in [first, second] {
        bench.apply_with_body(email(9, 5, id), 100);
    }
    let rows = inbox(&bench, 9, first);
    bench.done(import(9, 5, Family::Mailbox, rows));
    assert_eq!(finished(bench.apply(abandon(9, 5))), (false, true));
    assert_eq!(finished(bench.apply(abandon(9, 5))), (false, true));
    assert_eq!(finished(bench.apply(abandon(9, 5))), (false, false));
    assert_eq!(finished(bench.apply(abandon(9, 5))), (false, false));
    bench.done(Kind::Reap(ReapCommand {
        limit: 100,
        ..ReapCommand::default()
    }));
    assert_eq!((bench.emails(), bench.gone()), (0, 200));
    for late in [open(9, 5), email(9, 5, first), finish(9, 5)] {
        assert_eq!(bench.refused(late), RefusalKind::FailedPrecondition);
    }
    let elsewhere = delivered(bench.apply_with_body(deliver(1, 9), 100));
    assert_eq!(elsewhere, (DeliverStatus::Moved, 3));
    // A later move brings it.
    bench.done(open(9, 6));
    assert_eq!(finished(bench.apply(finish(9, 6))), (true, false));
    // Too late.
    assert_eq!(finished(bench.apply(abandon(9, 6))), (true, false));
    assert!(bench.account(9).is_some());
    // One that never came is not let in later.
    assert_eq!(finished(bench.apply(abandon(8, 7))), (false, false));
    assert_eq!(bench.refused(open(8, 7)), RefusalKind::FailedPrecondition);
}

#[test]
fn an_account_that_is_opened_again_is_not_closed_by_what_is_late() {
    let mut bench = bench();
    bench.done(close(1, 5));
    assert_eq!(bench.account(1), None);
    bench.done(reopen(1, 5));
    bench.done(reopen(1, 5));
    assert!(bench.account(1).is_some());
    let precondition = RefusalKind::FailedPrecondition;
    assert_eq!(bench.refused(close(1, 5)), precondition);
    // Called off before it was closed.
    bench.done(reopen(2, 6));
    assert_eq!(bench.refused(close(2, 6)), precondition);
    bench.done(close(2, 7));
    bench.done(leave(2, 7, 3));
    assert_eq!(bench.refused(reopen(2, 7)), precondition);
}

#[test]
fn no_step_is_taken_while_a_backup_takes_its_cut() {
    let mut bench = bench();
    bench.done(open(9, 5));
    bench.done(Kind::Hold(HoldCommand {
        cut: "c".into(),
        for_ms: 1000,
    }));
    let rows = import(9, 5, Family::Mailbox, Vec::new());
    for step in [open(8, 6), rows, finish(9, 5), close(1, 7), leave(1, 7, 3)] {
        assert_eq!(bench.refused(step), RefusalKind::Held);
    }
}

#[test]
fn marks_of_filed_letters_name_the_account_from_level_3_on() {
    let mut bench = Bench::new();
    let mark = |bench: &Bench, number| {
        let key = spool::filed(bench.space, &id(number), 0);
        Rows::get(&bench.db, Family::Dedupe, key).unwrap().unwrap()
    };
    bench.apply_with_body(accept(1, &[(0, 2)], 1), 100);
    assert_eq!(mark(&bench, 1), [1][..]);
    bench.done(Kind::RaiseLevel(RaiseLevelCommand { level: 3 }));
    bench.apply_with_body(accept(2, &[(0, 2)], 1), 100);
    assert_eq!(mark(&bench, 2), [1, 0, 0, 0, 0, 0, 0, 0, 2][..]);
}

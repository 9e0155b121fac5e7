use super::*;
use crate::model::spool;

#[test]
fn marks_go_by_age_and_not_before() {
    let mut bench = Bench::new();
    let old = id(1);
    let new = QueueId::mint(SHARD, START_MS + 5000, 1).unwrap();
    for id in [old, new] {
        let mut command = accept_command(1, &[(0, 1)], 1);
        command.queue_id = id.to_string();
        bench.apply_with_body(Kind::Accept(command), 100);
    }
    let reap = |accepted: u64, filed: u64| {
        Kind::Reap(ReapCommand {
            accepted_before_ms: accepted,
            filed_before_ms: filed,
            limit: 100,
            ..ReapCommand::default()
        })
    };
    let has = |bench: &Bench, id: &QueueId| {
        let mark = Rows::get(&bench.db, Family::Spool, spool::mark(bench.space, id)).unwrap();
        let filed = Rows::get(&bench.db, Family::Dedupe, spool::filed(bench.space, id, 0)).unwrap();
        (mark.is_some(), filed.is_some())
    };
    bench.done(reap(START_MS, START_MS));
    assert_eq!(has(&bench, &old), (true, true));
    bench.done(reap(START_MS + 1, START_MS));
    assert_eq!(has(&bench, &old), (false, true));
    bench.done(reap(START_MS + 1, START_MS + 1));
    assert_eq!(
        (has(&bench, &old), has(&bench, &new)),
        ((false, false), (true, true))
    );
    bench.done(reap(START_MS + 6000, START_MS + 6000));
    assert_eq!(has(&bench, &new), (false, false));
}

#[test]
fn a_letter_older_than_the_marks_of_filing_is_refused_and_not_filed_twice() {
    let mut bench = Bench::new();
    let deliver = |millis: u64| {
        let letter = accept_command(1, &[(0, 1)], 1);
        Kind::Deliver(DeliverCommand {
            queue_id: QueueId::mint(SHARD, START_MS + millis, 1)
                .unwrap()
                .to_string(),
            targets: letter.local,
            email: letter.email,
            email_size: letter.email_size,
            body: letter.body,
            ..DeliverCommand::default()
        })
    };
    for millis in 0..3 {
        bench.apply_with_body(deliver(millis), 100);
    }
    // One row at a time: what is not removed yet answers still, and nothing is filed meanwhile.
    bench.done(Kind::Reap(ReapCommand {
        filed_before_ms: START_MS + 2,
        limit: 1,
        ..ReapCommand::default()
    }));
    let refused = bench.apply_with_body(deliver(0), 100);
    let Answer::Refused(refused) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.kind(), RefusalKind::FailedPrecondition);
    for remembered in [1, 2] {
        let answer = bench.apply_with_body(deliver(remembered), 100);
        assert!(matches!(answer, Answer::Delivered(_)), "{answer:?}");
    }
    assert_eq!(bench.messages(1, INBOX).len(), 3);
}

#[test]
fn a_letter_is_known_for_as_long_as_it_is_here() {
    let mut bench = Bench::new();
    bench.apply_with_body(accept(1, &[], 1), 100);
    bench.done(Kind::Reap(ReapCommand {
        accepted_before_ms: START_MS + 1,
        limit: 9,
        ..ReapCommand::default()
    }));
    assert!(!accepted(bench.apply_with_body(accept(1, &[], 1), 100)).filed);
    assert_eq!(
        bench.count(Family::Spool, spool::due_at(bench.space, START_MS)),
        1
    );
    assert_eq!(bench.gone(), 100);
}

#[test]
fn marks_of_appends_go_with_their_index() {
    let mut bench = Bench::new();
    let append = Kind::Append(AppendCommand {
        account: 1,
        mailbox: "Sent".into(),
        upload_id: "u.1".into(),
        ..AppendCommand::default()
    });
    bench.done(append);
    let count = |bench: &Bench| bench.count(Family::Dedupe, bench.space.key());
    assert_eq!(count(&bench), 2);
    bench.done(Kind::Reap(ReapCommand {
        appended_before_ms: START_MS + 1,
        limit: 9,
        ..ReapCommand::default()
    }));
    assert_eq!(count(&bench), 0);
}

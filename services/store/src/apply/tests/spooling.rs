use super::*;
use crate::model::spool::{self, LetterRow};

fn letter(bench: &Bench, number: u64) -> Option<LetterRow> {
    let key = spool::letter(bench.space, &id(number));
    bench.db.row(Family::Spool, key).unwrap()
}

fn statuses(bench: &Bench, number: u64) -> Vec<RecipientStatus> {
    let states = spool::recipient_states(&bench.db, bench.space, &id(number)).unwrap();
    states.iter().map(RecipientState::status).collect()
}

#[test]
fn a_letter_for_this_shard_is_filed_in_the_same_commit() {
    let mut bench = Bench::new();
    let answer = accepted(bench.apply_with_body(accept(1, &[(0, 1), (1, 2)], 2), 100));
    assert!(answer.filed);
    assert_eq!((answer.log_index, answer.term), (bench.index, 3));
    assert_eq!(letter(&bench, 1), None);
    for account in [1, 2] {
        let messages = bench.messages(account, INBOX);
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].0, messages[0].1.size), (1, 120));
        bench.check_counts(account, INBOX);
    }
    // Both show one email, whose octets are there once.
    assert_eq!(
        bench.messages(1, INBOX)[0].1.email,
        bench.messages(2, INBOX)[0].1.email
    );
    assert_eq!((bench.emails(), bench.gone()), (1, 0));
}

#[test]
fn a_repeated_accept_answers_as_the_first_and_files_nothing() {
    let mut bench = Bench::new();
    let first = accepted(bench.apply_with_body(accept(1, &[(0, 1)], 1), 100));
    let again = accepted(bench.apply_with_body(accept(1, &[(0, 1)], 1), 100));
    assert_eq!(first, again);
    assert_eq!(bench.messages(1, INBOX).len(), 1);
    // The octets that came again are gone.
    assert_eq!(bench.gone(), 100);
}

fn resolve(number: u64) -> Kind {
    Kind::ResolveAccept(ResolveAcceptCommand {
        queue_id: id(number).to_string(),
    })
}

#[test]
fn an_accept_that_nobody_heard_of_is_known_or_given_up_for_good() {
    let mut bench = Bench::new();
    let filed = accepted(bench.apply_with_body(accept(1, &[(0, 1)], 1), 100));
    assert_eq!(accepted(bench.apply(resolve(1))), filed);
    let spooled = accepted(bench.apply_with_body(accept(2, &[], 1), 100));
    assert_eq!(accepted(bench.apply(resolve(2))), spooled);

    // Never accepted: told so, and a late Accept is refused, as often as it comes.
    for _ in 0..2 {
        assert!(matches!(bench.apply(resolve(3)), Answer::Done(_)));
        let late = bench.apply_with_body(accept(3, &[(0, 1)], 1), 100);
        let Answer::Refused(refused) = late else {
            panic!("{late:?}");
        };
        assert_eq!(refused.kind(), RefusalKind::FailedPrecondition);
    }
    assert_eq!(bench.messages(1, INBOX).len(), 1);
    assert_eq!(letter(&bench, 3), None);
}

#[test]
fn other_recipients_stay_in_the_spool() {
    let mut bench = Bench::new();
    // Account 9 is gone; recipient 2 is remote.
    let answer = accepted(bench.apply_with_body(accept(1, &[(0, 1), (1, 9)], 3), 100));
    assert!(!answer.filed);
    assert_eq!(bench.messages(1, INBOX).len(), 1);
    assert_eq!(
        statuses(&bench, 1),
        [
            RecipientStatus::Delivered,
            RecipientStatus::Pending,
            RecipientStatus::Pending,
        ]
    );
    assert_eq!(
        bench.count(Family::Spool, spool::due_at(bench.space, START_MS)),
        1
    );
    let again = accepted(bench.apply_with_body(accept(1, &[(0, 1), (1, 9)], 3), 100));
    assert_eq!(answer, again);
    assert_eq!(bench.messages(1, INBOX).len(), 1);
}

#[test]
fn deliver_files_once_per_recipient_even_after_expunge() {
    let mut bench = Bench::new();
    let deliver = |targets: &[(u32, u64)]| {
        let letter = accept_command(7, targets, 1);
        Kind::Deliver(DeliverCommand {
            queue_id: letter.queue_id,
            targets: letter.local,
            email: letter.email,
            email_size: letter.email_size,
            body: letter.body,
            ..DeliverCommand::default()
        })
    };
    let statuses = |answer| match answer {
        Answer::Delivered(delivered) => delivered
            .results
            .iter()
            .map(DeliverResult::status)
            .collect::<Vec<_>>(),
        answer => panic!("{answer:?}"),
    };
    let answer = bench.apply_with_body(deliver(&[(0, 1), (1, 9)]), 100);
    assert_eq!(
        statuses(answer),
        [DeliverStatus::Filed, DeliverStatus::NoAccount]
    );
    bench.done(Kind::Expunge(ExpungeCommand {
        account: 1,
        mailbox: INBOX,
        uids: vec![range(1, 1)],
        ignore_deleted_flag: true,
        limit: 10,
    }));
    assert_eq!(bench.gone(), 100);
    let answer = bench.apply_with_body(deliver(&[(0, 1)]), 100);
    assert_eq!(statuses(answer), [DeliverStatus::Duplicate]);
    assert_eq!(bench.messages(1, INBOX).len(), 0);
    assert_eq!((bench.emails(), bench.gone()), (0, 200));
}

#[test]
fn who_watches_hears_of_the_trace_of_each_letter_once_however_it_was_filed() {
    let mut bench = Bench::new();
    let follower = bench.notifier.follow_account(SHARD, 1);
    let accept = Kind::Accept(AcceptCommand {
        trace: "accepted".into(),
        ..accept_command(1, &[(0, 1), (1, 2)], 2)
    });
    let letter = accept_command(7, &[(0, 1)], 1);
    let deliver = Kind::Deliver(DeliverCommand {
        queue_id: letter.queue_id,
        targets: letter.local,
        email: letter.email,
        email_size: letter.email_size,
        body: letter.body,
        trace: "delivered".into(),
    });
    for kind in [&accept, &deliver, &accept, &deliver] {
        bench.apply_with_body(kind.clone(), 100);
    }
    assert_eq!(follower.take().filed, ["accepted", "delivered"]);
    // A letter without a trace is told of as well, only not its trace.
    bench.apply_with_body(super::accept(2, &[(0, 1)], 1), 100);
    let waiting = follower.take();
    assert_eq!((waiting.filed.len(), waiting.mailboxes.len()), (0, 1));
}

#[test]
fn deliver_shares_the_octets_of_a_letter_in_the_spool() {
    let mut bench = Bench::new();
    bench.apply_with_body(accept(1, &[], 2), 100);
    let letter = accept_command(1, &[(0, 1)], 2);
    let deliver = Kind::Deliver(DeliverCommand {
        queue_id: letter.queue_id.clone(),
        targets: letter.local,
        email: letter.email,
        email_size: 120,
        body: Some(BodySource {
            spooled_queue_id: letter.queue_id,
            ..BodySource::default()
        }),
        ..DeliverCommand::default()
    });
    bench.done(deliver);
    let spooled = super::spooling::letter(&bench, 1).unwrap();
    let filed = email::find(&bench.db, bench.space, bench.messages(1, INBOX)[0].1.email);
    assert_eq!(spooled.body, filed.unwrap().unwrap().body);
    let count = email::count(&bench.db, email::body_refs(bench.space, &spooled.body[0]));
    assert_eq!(count.unwrap(), 2);
}

fn chunk(upload: &str, number: u32) -> Kind {
    Kind::UploadChunk(UploadChunkCommand {
        upload_id: upload.into(),
        number,
    })
}

fn accept_upload(number: u64, chunks: u32, octets: u64) -> Kind {
    let mut command = accept_command(number, &[(0, 1)], 1);
    command.body = Some(BodySource {
        length: 10,
        upload_id: "u".into(),
        chunks,
        upload_octets: octets,
        ..BodySource::default()
    });
    Kind::Accept(command)
}

#[test]
fn an_upload_is_taken_whole_and_in_order() {
    let mut bench = Bench::new();
    // Chunks commit in any order, and one of them twice.
    bench.apply_with_body(chunk("u", 1), 50);
    bench.apply_with_body(chunk("u", 0), 60);
    bench.apply_with_body(chunk("u", 1), 50);
    assert_eq!(bench.gone(), 50);
    assert!(accepted(bench.apply_with_body(accept_upload(1, 2, 110), 10)).filed);
    let row = email::find(&bench.db, bench.space, bench.messages(1, INBOX)[0].1.email);
    let part = |part: &BodyPart| (part.index, part.length);
    let parts: Vec<_> = row.unwrap().unwrap().body.iter().map(part).collect();
    assert_eq!(parts, [(6, 10), (4, 60), (3, 50)]);
    assert_eq!(
        bench.count(Family::Spool, spool::upload(bench.space, "u")),
        0
    );
    assert_eq!(
        bench.count(Family::Spool, spool::chunk(bench.space, "u", 0)),
        0
    );
    // Expunging the only message leaves all octets without an owner.
    bench.done(Kind::Expunge(ExpungeCommand {
        account: 1,
        mailbox: INBOX,
        uids: vec![range(1, 1)],
        ignore_deleted_flag: true,
        limit: 10,
    }));
    assert_eq!(bench.gone(), 50 + 10 + 60 + 50);
}

#[test]
fn an_upload_that_lost_a_chunk_or_was_reaped_is_refused() {
    let mut bench = Bench::new();
    bench.apply_with_body(chunk("u", 1), 50);
    let lost = |bench: &mut Bench| match bench.apply_with_body(accept_upload(1, 2, 110), 10) {
        Answer::Refused(refused) => refused.kind(),
        answer => panic!("{answer:?}"),
    };
    assert_eq!(lost(&mut bench), RefusalKind::UploadLost);
    bench.apply_with_body(chunk("u", 0), 60);
    bench.now_ms += 1000;
    bench.done(Kind::Reap(ReapCommand {
        uploads_before_ms: bench.now_ms,
        limit: 10,
        ..ReapCommand::default()
    }));
    assert_eq!(lost(&mut bench), RefusalKind::UploadLost);
    // Chunks, and the octets of both refused commands.
    assert_eq!(bench.gone(), 50 + 60 + 10 + 10);
    assert_eq!(bench.messages(1, INBOX).len(), 0);
}

#[test]
fn an_unknown_command_halts_the_replica() {
    let bench = Bench::new();
    let entry = CommittedEntry {
        index: 99,
        term: 1,
        time_ms: 0,
        commands: vec![CommittedCommand {
            command: Bytes::from_static(b"\x01\xa2\x38\x00"),
            body_len: 0,
            body: BodyRef {
                shard: SHARD,
                index: 99,
                number: 0,
            },
        }],
    };
    let progress = Progress::new(bench.space, Vec::new());
    assert!(bench.applier.apply(SHARD, vec![entry], progress).is_err());
}

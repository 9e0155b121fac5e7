use super::*;
use crate::model::spool::{self, ProgressRow, ShardRow};
use recipient_outcome::Outcome;

fn lease(bench: &mut Bench, holder: &str, expected_epoch: u64) -> LeaseAnswer {
    let answer = bench.apply(Kind::AcquireLease(AcquireLeaseCommand {
        holder: holder.into(),
        ttl_ms: 1000,
        expected_epoch,
    }));
    match answer {
        Answer::Lease(answer) => answer,
        answer => panic!("{answer:?}"),
    }
}

fn settle(epoch: u64, number: u64, outcomes: &[(u32, Outcome)]) -> SettleCommand {
    let outcome = |(recipient, outcome): &(u32, Outcome)| RecipientOutcome {
        recipient: *recipient,
        outcome: Some(outcome.clone()),
        attempt: 0,
    };
    SettleCommand {
        holder: "q".into(),
        lease_epoch: epoch,
        letters: vec![SettledLetter {
            queue_id: id(number).to_string(),
            recipients: outcomes.iter().map(outcome).collect(),
            notifications: Vec::new(),
        }],
    }
}

/// The same, as outcomes of these attempts.
fn numbered(mut command: SettleCommand, attempts: &[u32]) -> SettleCommand {
    let recipients = command.letters[0].recipients.iter_mut();
    for (outcome, attempt) in recipients.zip(attempts) {
        outcome.attempt = *attempt;
    }
    command
}

fn delivered() -> Outcome {
    Outcome::Delivered(Delivered::default())
}

fn deferred(next_attempt_ms: u64) -> Outcome {
    Outcome::Deferred(Deferred {
        next_attempt_ms,
        reply: "451 later".into(),
        ..Deferred::default()
    })
}

fn bounced() -> Outcome {
    Outcome::Bounced(Bounced::default())
}

fn states(bench: &Bench, number: u64) -> Vec<RecipientState> {
    spool::recipient_states(&bench.db, bench.space, &id(number)).unwrap()
}

fn due(bench: &Bench) -> Vec<u64> {
    let rows = Rows::page(&bench.db, Family::Spool, &spool::dues(bench.space), 99).unwrap();
    rows.iter()
        .map(|(key, _)| spool::parse_due(key).unwrap().0)
        .collect()
}

#[test]
fn the_epoch_rises_with_each_acquisition_and_an_old_one_settles_nothing() {
    let mut bench = Bench::new();
    bench.apply_with_body(accept(1, &[], 1), 100);
    let first = lease(&mut bench, "q", 0);
    assert_eq!((first.granted, first.lease_epoch), (true, 1));
    // Someone who did not see that is too late.
    let late = lease(&mut bench, "r", 0);
    assert_eq!((late.granted, late.holder.as_str()), (false, "q"));
    assert_eq!(lease(&mut bench, "q", 1).lease_epoch, 2);
    let stale = Kind::Settle(settle(1, 1, &[(0, delivered())]));
    assert_eq!(bench.refused(stale), RefusalKind::LeaseLost);
    assert_eq!(states(&bench, 1)[0].attempts, 0);
    bench.done(Kind::ReleaseLease(ReleaseLeaseCommand {
        holder: "q".into(),
        lease_epoch: 2,
    }));
    let released = Kind::Settle(settle(1, 2, &[(0, delivered())]));
    assert_eq!(bench.refused(released), RefusalKind::LeaseLost);
    assert_eq!(lease(&mut bench, "r", 2).lease_epoch, 3);
}

/// Every state of a recipient and every outcome: what state follows.
#[test]
fn pending_moves_and_final_states_stay() {
    use RecipientStatus::{Bounced, Delivered, Pending};
    let later = START_MS + 60_000;
    let table = [
        (Pending, deferred(later), Pending),
        (Pending, delivered(), Delivered),
        (Pending, bounced(), Bounced),
        (Delivered, deferred(later), Delivered),
        (Delivered, bounced(), Delivered),
        (Bounced, deferred(later), Bounced),
        (Bounced, delivered(), Bounced),
    ];
    for (from, outcome, to) in table {
        let mut bench = Bench::new();
        // Recipient 1 stays pending, so that the letter does, too.
        bench.apply_with_body(accept(1, &[], 2), 100);
        lease(&mut bench, "q", 0);
        match from {
            Delivered => bench.done(Kind::Settle(settle(1, 1, &[(0, delivered())]))),
            Bounced => bench.done(Kind::Settle(settle(1, 1, &[(0, bounced())]))),
            _ => {}
        }
        let before = states(&bench, 1)[0].clone();
        bench.done(Kind::Settle(settle(1, 1, &[(0, outcome)])));
        let after = states(&bench, 1)[0].clone();
        assert_eq!(after.status(), to);
        assert_eq!(after == before, from != Pending);
    }
}

#[test]
fn a_deferred_letter_moves_in_the_due_index_and_a_retry_brings_it_back() {
    let mut bench = Bench::new();
    bench.apply_with_body(accept(1, &[], 2), 100);
    lease(&mut bench, "q", 0);
    assert_eq!(due(&bench), [START_MS]);
    let (soon, later) = (START_MS + 1000, START_MS + 9000);
    let outcomes = [(0, deferred(later)), (1, deferred(soon))];
    bench.done(Kind::Settle(settle(1, 1, &outcomes)));
    assert_eq!(due(&bench), [soon]);
    bench.done(Kind::Settle(settle(1, 1, &[(1, delivered())])));
    assert_eq!(due(&bench), [later]);
    let state = &states(&bench, 1)[0];
    assert_eq!(
        (state.attempts, state.last_reply.as_str()),
        (1, "451 later")
    );
    bench.done(Kind::Retry(RetryCommand {
        limit: 10,
        ..RetryCommand::default()
    }));
    assert_eq!(due(&bench), [START_MS]);
    let missing = Kind::Retry(RetryCommand {
        queue_id: id(5).to_string(),
        ..RetryCommand::default()
    });
    assert_eq!(bench.refused(missing), RefusalKind::NotFound);
}

#[test]
fn a_settled_letter_leaves_only_its_mark() {
    let mut bench = Bench::new();
    let first = accepted(bench.apply_with_body(accept(1, &[], 2), 100));
    lease(&mut bench, "q", 0);
    let outcomes = [(0, delivered()), (1, bounced())];
    bench.done(Kind::Settle(settle(1, 1, &outcomes)));
    assert_eq!((due(&bench), states(&bench, 1)), (vec![], vec![]));
    let key = spool::progress(bench.space, &id(1));
    assert_eq!(
        bench.db.row::<ProgressRow>(Family::Spool, key).unwrap(),
        None
    );
    assert_eq!(bench.gone(), 100);
    let again = accepted(bench.apply_with_body(accept(1, &[], 2), 100));
    assert_eq!(first, again);
    assert_eq!(due(&bench), [0u64; 0]);
}

#[test]
fn notifications_come_in_the_same_commit_and_only_once() {
    let mut bench = Bench::new();
    bench.apply_with_body(accept(1, &[], 1), 100);
    lease(&mut bench, "q", 0);
    let mut command = settle(1, 1, &[(0, bounced())]);
    let mut local = accept_command(2, &[(0, 1)], 1);
    let mut remote = accept_command(3, &[], 1);
    for (notification, offset, length) in [(&mut local, 0, 30), (&mut remote, 30, 40)] {
        notification.body = Some(BodySource {
            offset,
            length,
            ..BodySource::default()
        });
    }
    command.letters[0].notifications = vec![local, remote];
    let answer = bench.apply_with_body(Kind::Settle(command.clone()), 70);
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    assert_eq!(bench.messages(1, INBOX).len(), 1);
    assert_eq!((states(&bench, 1).len(), states(&bench, 3).len()), (0, 1));
    assert_eq!(bench.gone(), 100);
    // The answer was lost: the queue settles again, with notifications under new ids.
    command.letters[0].notifications[0].queue_id = id(8).to_string();
    command.letters[0].notifications[1].queue_id = id(9).to_string();
    bench.apply_with_body(Kind::Settle(command), 70);
    assert_eq!(bench.messages(1, INBOX).len(), 1);
    assert_eq!(states(&bench, 9), []);
    assert_eq!(bench.gone(), 170);
    // Both came with one body, which stays until the second of them has gone too.
    bench.done(Kind::Expunge(ExpungeCommand {
        account: 1,
        mailbox: INBOX,
        uids: vec![range(1, 1)],
        ignore_deleted_flag: true,
        limit: 10,
    }));
    assert_eq!(bench.gone(), 170);
    bench.done(Kind::Settle(settle(1, 3, &[(0, delivered())])));
    assert_eq!(bench.gone(), 240);
}

#[test]
fn bodies_that_an_earlier_version_did_not_count_stay() {
    let mut bench = Bench::new();
    bench.apply_with_body(accept(1, &[], 1), 100);
    let key = spool::shard(bench.space);
    let row: Option<ShardRow> = bench.db.row(Family::Spool, key.clone()).unwrap();
    let row = ShardRow {
        bodies_counted_from: bench.index + 1,
        ..row.unwrap()
    };
    let mut batch = bench.db.batch();
    batch.put(Family::Spool, key, crate::model::encode(&row));
    bench.db.write(batch).unwrap();
    bench.apply_with_body(accept(2, &[], 1), 100);
    lease(&mut bench, "q", 0);
    bench.done(Kind::Settle(settle(1, 1, &[(0, delivered())])));
    assert_eq!(bench.gone(), 0);
    bench.done(Kind::Settle(settle(1, 2, &[(0, delivered())])));
    assert_eq!(bench.gone(), 100);
}

/// All that a settle may change about a letter: its recipients and its place in the due index.
fn spooled(bench: &Bench, number: u64) -> (Vec<RecipientState>, Vec<u64>) {
    (states(bench, number), due(bench))
}

#[test]
fn a_repeated_deferral_is_one_attempt() {
    for attempt in [0, 1] {
        let mut bench = Bench::new();
        bench.apply_with_body(accept(1, &[], 2), 100);
        lease(&mut bench, "q", 0);
        let (soon, later) = (START_MS + 1000, START_MS + 9000);
        let outcomes = [(0, deferred(later)), (1, deferred(soon))];
        let command = numbered(settle(1, 1, &outcomes), &[attempt; 2]);
        bench.done(Kind::Settle(command.clone()));
        let once = spooled(&bench, 1);
        // The answer was lost; the clock goes on, but nothing else does.
        bench.now_ms += 500;
        bench.done(Kind::Settle(command.clone()));
        assert_eq!(spooled(&bench, 1), once);
        assert_eq!(once.0[0].attempts, 1);
        // The next attempt counts, of one recipient as of the other.
        let next = numbered(settle(1, 1, &[(1, deferred(later + 1))]), &[2 * attempt]);
        bench.done(Kind::Settle(next));
        bench.done(Kind::Settle(command));
        let attempts = states(&bench, 1)
            .iter()
            .map(|s| s.attempts)
            .collect::<Vec<_>>();
        match attempt {
            // Without a number, the first attempt's outcome looks like a third one's.
            0 => assert_eq!(attempts, [1, 3]),
            _ => assert_eq!(attempts, [1, 2]),
        }
    }
}

#[test]
fn a_repeated_deferral_does_not_undo_a_retry() {
    let mut bench = Bench::new();
    bench.apply_with_body(accept(1, &[], 1), 100);
    lease(&mut bench, "q", 0);
    let command = numbered(settle(1, 1, &[(0, deferred(START_MS + 9000))]), &[1]);
    bench.done(Kind::Settle(command.clone()));
    bench.now_ms += 100;
    bench.done(Kind::Retry(RetryCommand {
        limit: 10,
        ..RetryCommand::default()
    }));
    let once = spooled(&bench, 1);
    bench.done(Kind::Settle(command));
    assert_eq!(spooled(&bench, 1), once);
    assert_eq!(once.1, [START_MS + 100]);
}

#[test]
fn a_repeated_settle_with_one_delivered_and_one_deferred_moves_and_notifies_nobody_twice() {
    let mut bench = Bench::new();
    bench.apply_with_body(accept(1, &[], 3), 100);
    lease(&mut bench, "q", 0);
    let delayed = Outcome::Deferred(Deferred {
        next_attempt_ms: START_MS + 9000,
        delay_notified: true,
        ..Deferred::default()
    });
    let outcomes = [(0, delivered()), (1, delayed), (2, bounced())];
    let mut command = numbered(settle(1, 1, &outcomes), &[1; 3]);
    let mut notification = accept_command(3, &[], 1);
    notification.body = Some(BodySource {
        length: 40,
        ..BodySource::default()
    });
    command.letters[0].notifications = vec![notification];
    bench.apply_with_body(Kind::Settle(command.clone()), 40);
    let once = spooled(&bench, 1);
    assert_eq!(states(&bench, 3).len(), 1);
    // Composed anew, with the notification under another id.
    command.letters[0].notifications[0].queue_id = id(4).to_string();
    bench.apply_with_body(Kind::Settle(command), 40);
    assert_eq!(spooled(&bench, 1), once);
    assert_eq!(states(&bench, 4), []);
    // Delivered after all, by an attempt that ended late: that is final whatever its number.
    let late = numbered(settle(1, 1, &[(1, delivered())]), &[1]);
    bench.done(Kind::Settle(late));
    assert_eq!(states(&bench, 1), []);
}

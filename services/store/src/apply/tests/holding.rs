//! Holds for the cut of a backup, and what a restore leaves held.

use recipient_outcome::Outcome;

use super::*;
use crate::model::spool::{self, ShardRow};

fn hold(cut: &str) -> Kind {
    Kind::Hold(HoldCommand {
        cut: cut.into(),
        for_ms: 1000,
    })
}

fn end(cut: &str) -> Kind {
    Kind::EndHold(EndHoldCommand { cut: cut.into() })
}

fn settle(number: u64, outcome: Outcome) -> Kind {
    Kind::Settle(SettleCommand {
        holder: "q".into(),
        lease_epoch: 1,
        letters: vec![SettledLetter {
            queue_id: id(number).to_string(),
            recipients: vec![RecipientOutcome {
                recipient: 0,
                outcome: Some(outcome),
                attempt: 1,
            }],
            notifications: Vec::new(),
        }],
    })
}

fn local() -> Outcome {
    Outcome::Delivered(Delivered {
        reply: "250 filed".into(),
        remote: String::new(),
    })
}

fn remote() -> Outcome {
    Outcome::Delivered(Delivered {
        reply: "250 ok".into(),
        remote: "mx.example.net".into(),
    })
}

/// A shard with a lease and three letters for somewhere else.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.done(Kind::RaiseLevel(RaiseLevelCommand { level: 2 }));
    for number in 1..=3 {
        bench.apply_with_body(accept(number, &[], 1), 100);
    }
    bench.done(Kind::AcquireLease(AcquireLeaseCommand {
        holder: "q".into(),
        ttl_ms: 1000,
        expected_epoch: 0,
    }));
    bench
}

#[test]
fn outcomes_of_local_deliveries_wait_for_the_end_of_a_hold() {
    let mut bench = bench();
    bench.done(hold("a"));
    bench.now_ms += 999;
    assert_eq!(bench.refused(settle(1, local())), RefusalKind::Held);
    bench.done(settle(2, remote()));
    let bounced = Outcome::Bounced(Bounced::default());
    bench.done(settle(3, bounced));
    // Mail comes in meanwhile, and is filed.
    assert!(accepted(bench.apply_with_body(accept(4, &[(0, 1)], 1), 100)).filed);
    bench.done(end("a"));
    bench.done(settle(1, local()));
}

#[test]
fn accounts_neither_come_nor_go_during_a_hold() {
    let mut bench = bench();
    bench.done(hold("a"));
    let init = InitAccountCommand {
        account: 3,
        ..InitAccountCommand::default()
    };
    let drop = DropAccountCommand { account: 1 };
    let held = RefusalKind::Held;
    assert_eq!(bench.refused(Kind::InitAccount(init.clone())), held);
    assert_eq!(bench.refused(Kind::DropAccount(drop)), held);
    bench.done(end("a"));
    bench.done(Kind::InitAccount(init));
    bench.done(Kind::DropAccount(drop));
}

#[test]
fn a_hold_that_ran_out_is_no_good_and_does_not_come_back() {
    let mut bench = bench();
    bench.done(hold("a"));
    bench.now_ms += 1000;
    bench.done(settle(1, local()));
    let precondition = RefusalKind::FailedPrecondition;
    assert_eq!(bench.refused(end("a")), precondition);
    assert_eq!(bench.refused(hold("a")), precondition);
    bench.done(hold("b"));
    assert_eq!(bench.refused(end("a")), precondition);
    bench.done(end("b"));
}

#[test]
fn one_hold_at_a_time_and_commands_may_be_repeated() {
    let mut bench = bench();
    bench.done(hold("a"));
    bench.done(hold("a"));
    assert_eq!(bench.refused(hold("b")), RefusalKind::FailedPrecondition);
    bench.done(end("a"));
    bench.done(end("a"));
    bench.done(hold("b"));
    // It does not last longer for being asked for twice.
    bench.now_ms += 999;
    bench.done(hold("b"));
    bench.now_ms += 1;
    bench.done(settle(1, local()));
}

#[test]
fn what_a_restore_holds_is_released_once() {
    let mut bench = bench();
    let key = spool::shard(bench.space);
    let row: Option<ShardRow> = bench.db.row(Family::Spool, key.clone()).unwrap();
    let row = ShardRow {
        remote_held: true,
        ..row.unwrap()
    };
    let mut batch = bench.db.batch();
    batch.put(Family::Spool, key, crate::model::encode(&row));
    bench.db.write(batch).unwrap();
    let held = |bench: &Bench| spool::is_remote_held(&bench.db, bench.space).unwrap();
    bench.done(settle(1, remote()));
    assert!(held(&bench));
    bench.done(Kind::ReleaseRemote(ReleaseRemoteCommand {}));
    assert!(!held(&bench));
    bench.done(Kind::ReleaseRemote(ReleaseRemoteCommand {}));
    assert!(!held(&bench));
}

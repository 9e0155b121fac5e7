use super::*;

#[test]
fn a_new_account_has_its_mailboxes() {
    let bench = Bench::new();
    let names = ["INBOX", "Drafts", "Sent", "Junk", "Trash"];
    let ids: Vec<Option<u64>> = names.iter().map(|name| bench.named(1, name)).collect();
    assert_eq!(ids, [Some(1), Some(2), Some(3), Some(4), Some(5)]);
    let uses: Vec<i32> = (1..=5).map(|id| bench.mailbox(1, id).special_use).collect();
    let special = [
        SpecialUse::Drafts,
        SpecialUse::Sent,
        SpecialUse::Junk,
        SpecialUse::Trash,
    ];
    assert_eq!(uses[0], 0);
    assert_eq!(uses[1..], special.map(i32::from));
    assert_eq!(bench.account(1).unwrap().mailboxes, 5);
}

#[test]
fn making_an_account_again_changes_nothing() {
    let mut bench = Bench::new();
    bench.fill(1);
    bench.done(Kind::InitAccount(InitAccountCommand {
        account: 1,
        ..InitAccountCommand::default()
    }));
    assert_eq!(bench.messages(1, INBOX).len(), 1);
}

#[test]
fn each_credential_has_a_higher_epoch() {
    let mut bench = Bench::new();
    let epoch = |bench: &Bench| {
        let credential = account::find_credential(&bench.db, bench.space, 1).unwrap();
        credential.unwrap().epoch
    };
    assert_eq!(epoch(&bench), 1);
    bench.done(Kind::SetCredential(SetCredentialCommand {
        account: 1,
        credential: Some(Credential::default()),
    }));
    assert_eq!(epoch(&bench), 2);
    let missing = Kind::SetCredential(SetCredentialCommand {
        account: 9,
        credential: None,
    });
    assert_eq!(bench.refused(missing), RefusalKind::NotFound);
}

#[test]
fn a_removed_account_does_not_come_back() {
    let mut bench = Bench::new();
    bench.fill(3);
    for account in [1, 7] {
        bench.done(Kind::DropAccount(DropAccountCommand { account }));
        bench.done(Kind::DropAccount(DropAccountCommand { account }));
        assert_eq!(bench.account(account), None);
        // A step of its making that comes late.
        let late = Kind::InitAccount(InitAccountCommand {
            account,
            ..InitAccountCommand::default()
        });
        assert_eq!(bench.refused(late), RefusalKind::FailedPrecondition);
    }
    assert_eq!(
        account::find_credential(&bench.db, bench.space, 1).unwrap(),
        None
    );
    // Mail for it stays in the spool, to be returned.
    assert!(!accepted(bench.apply_with_body(accept(90, &[(0, 1)], 1), 100)).filed);
    let reap = ReapCommand {
        limit: 2,
        ..ReapCommand::default()
    };
    let mut rounds = 0;
    while let Answer::Reaped(ReapAnswer { more: true }) = bench.apply(Kind::Reap(reap)) {
        rounds += 1;
        assert!(rounds < 50);
    }
    assert_eq!((bench.emails(), bench.gone()), (0, 300));
    // Only the mark is left of it.
    assert_eq!(bench.count(Family::Mailbox, bench.space.key().u64(1)), 1);
    assert_eq!(bench.count(Family::Change, bench.space.key().u64(1)), 0);
}

use super::*;
use crate::model::directory as rows;

fn bench() -> Bench {
    let mut bench = Bench::empty(ShardId::CONTROL);
    bench.done(Kind::AddDomain(AddDomainCommand {
        domain: "example.org".into(),
    }));
    bench
}

fn create(local_part: &str) -> Kind {
    Kind::CreateAccount(CreateAccountCommand {
        domain: "example.org".into(),
        local_part: local_part.into(),
        address: format!("{local_part}@example.org"),
        credential: Some(Credential {
            password_hash: "$argon2id$".into(),
            ..Credential::default()
        }),
        mail_shards: 3,
        ..CreateAccountCommand::default()
    })
}

fn entry(answer: Answer) -> AccountEntry {
    match answer {
        Answer::Account(entry) => entry,
        answer => panic!("{answer:?}"),
    }
}

fn close(local_part: &str) -> Kind {
    Kind::CloseAccount(CloseAccountCommand {
        domain: "example.org".into(),
        local_part: local_part.into(),
    })
}

fn alias(local_part: &str) -> Kind {
    Kind::SetAlias(SetAliasCommand {
        domain: "example.org".into(),
        local_part: local_part.into(),
        address: format!("{local_part}@example.org"),
        targets: vec!["a@example.org".into()],
    })
}

fn under_way(bench: &Bench) -> usize {
    Rows::page(&bench.db, Family::Directory, &rows::sagas(bench.space), 99)
        .unwrap()
        .len()
}

#[test]
fn accounts_spread_over_the_shards_and_ids_are_never_reused() {
    let mut bench = bench();
    let shards: Vec<u32> = ["a", "b", "c", "d"]
        .map(|name| entry(bench.apply(create(name))).shard)
        .into();
    assert_eq!(shards, [1, 2, 3, 1]);
    bench.done(close("b"));
    bench.done(Kind::ForgetAccount(ForgetAccountCommand { account: 2 }));
    let again = entry(bench.apply(create("b")));
    assert_eq!((again.account, again.shard), (5, 2));
}

#[test]
fn an_account_goes_through_its_states() {
    let mut bench = bench();
    let id = entry(bench.apply(create("a"))).account;
    let state = |bench: &Bench| rows::find_account(&bench.db, bench.space, id).unwrap();
    assert!(state(&bench).unwrap().credential.is_some());
    assert_eq!(under_way(&bench), 1);
    let activate = Kind::ActivateAccount(ActivateAccountCommand { account: id });
    bench.done(activate.clone());
    bench.done(activate.clone());
    let row = state(&bench).unwrap();
    // The control group keeps no credential of an account that is made.
    assert_eq!(
        (row.state, row.credential),
        (AccountState::Active.into(), None)
    );
    assert_eq!(under_way(&bench), 0);
    let forget = Kind::ForgetAccount(ForgetAccountCommand { account: id });
    assert_eq!(
        bench.refused(forget.clone()),
        RefusalKind::FailedPrecondition
    );
    bench.done(close("a"));
    assert_eq!(under_way(&bench), 1);
    // A late step of its making does not bring it back.
    assert_eq!(
        bench.refused(activate.clone()),
        RefusalKind::FailedPrecondition
    );
    assert_eq!(bench.refused(create("a")), RefusalKind::AlreadyExists);
    bench.done(forget.clone());
    bench.done(forget);
    assert_eq!((state(&bench), under_way(&bench)), (None, 0));
    assert_eq!(bench.refused(activate), RefusalKind::NotFound);
    assert_eq!(bench.refused(close("a")), RefusalKind::NotFound);
}

#[test]
fn an_address_is_account_or_alias() {
    let mut bench = bench();
    bench.done(create("a"));
    bench.done(alias("list"));
    bench.done(alias("list"));
    assert_eq!(bench.refused(alias("a")), RefusalKind::AlreadyExists);
    assert_eq!(bench.refused(create("list")), RefusalKind::AlreadyExists);
    assert_eq!(bench.refused(close("list")), RefusalKind::NotFound);
    let remove = |local_part: &str| {
        Kind::RemoveAlias(RemoveAliasCommand {
            domain: "example.org".into(),
            local_part: local_part.into(),
        })
    };
    assert_eq!(bench.refused(remove("a")), RefusalKind::NotFound);
    bench.done(remove("list"));
    bench.done(create("list"));
}

#[test]
fn a_domain_stays_while_it_has_addresses() {
    let mut bench = bench();
    let domain = || "example.org".to_owned();
    let remove = || Kind::RemoveDomain(RemoveDomainCommand { domain: domain() });
    let add = Kind::AddDomain(AddDomainCommand { domain: domain() });
    assert_eq!(bench.refused(add), RefusalKind::AlreadyExists);
    bench.done(alias(""));
    assert_eq!(bench.refused(remove()), RefusalKind::FailedPrecondition);
    bench.done(Kind::RemoveAlias(RemoveAliasCommand {
        domain: domain(),
        local_part: String::new(),
    }));
    bench.done(remove());
    assert_eq!(bench.refused(remove()), RefusalKind::NotFound);
    assert_eq!(bench.refused(create("a")), RefusalKind::FailedPrecondition);
    assert_eq!(bench.refused(alias("x")), RefusalKind::FailedPrecondition);
}

#[test]
fn node_ids_rise_with_the_log() {
    let mut bench = bench();
    let allocate = || {
        Kind::AllocateNode(AllocateNodeCommand {
            endpoint: "http://a:1".into(),
        })
    };
    let two = vec![(allocate(), 0), (allocate(), 0)];
    let entry = bench.entry(two);
    let ids: Vec<u64> = bench
        .apply_entries(vec![entry])
        .into_iter()
        .map(|answer| match answer {
            Answer::Node(allocated) => allocated.node,
            answer => panic!("{answer:?}"),
        })
        .collect();
    assert_eq!(ids, [2, 3]);
    // Who comes where another one was takes its place.
    let key = rows::node(bench.space, 3);
    let row: Option<rows::NodeRow> = bench.db.row(Family::Directory, key).unwrap();
    assert_eq!(row.unwrap().replaces, 2);
}

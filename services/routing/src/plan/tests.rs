use std::collections::HashSet;

use super::*;

const BOUNDS: Bounds = Bounds {
    hosts: 10,
    addresses: 5,
    port: 25,
};

fn domain() -> Domain {
    "example.com".parse().expect("valid")
}

fn mx(records: &[(u16, &str)]) -> Answer<MxRecord> {
    let record = |&(preference, host): &(u16, &str)| MxRecord {
        preference,
        exchange: host.to_owned(),
    };
    Answer::Found(records.iter().map(record).collect())
}

fn at(host: &str, addresses: &[&str]) -> Addresses {
    let answer = match addresses {
        [] => Answer::NoRecords,
        some => Answer::Found(some.iter().map(|a| a.parse().expect("address")).collect()),
    };
    Addresses {
        host: host.to_owned(),
        answer,
    }
}

fn failed(host: &str) -> Addresses {
    Addresses {
        host: host.to_owned(),
        answer: Answer::Failed("SERVFAIL".into()),
    }
}

fn us() -> Ourselves {
    let addresses = vec!["198.51.100.9".parse().expect("address")];
    Ourselves {
        hostname: "mx.example.org".into(),
        addresses,
    }
}

/// Both steps with a fixed seed: host names in order, or the reply.
fn plan(answer: &Answer<MxRecord>, addresses: &[Addresses], seed: u64) -> Result<Planned, String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    candidates(&domain(), answer, BOUNDS)
        .and_then(|c| decide(&domain(), &c, addresses, &us(), BOUNDS, &mut rng))
        .map_err(|reply| reply.to_string())
}

fn names(planned: &Planned) -> Vec<&str> {
    planned
        .hosts
        .iter()
        .map(|host| host.name.as_str())
        .collect()
}

#[test]
fn hosts_come_in_order_of_preference() {
    let answer = mx(&[(20, "B.example"), (10, "a.example"), (30, "c.example")]);
    let addresses = [
        at("a.example", &["192.0.2.1"]),
        at("b.example", &["192.0.2.2"]),
        at("c.example", &[]),
    ];
    let planned = plan(&answer, &addresses, 0).expect("has hosts");
    assert_eq!(names(&planned), ["a.example", "b.example"]);
    // The site is the whole set, whatever resolves at the moment.
    assert_eq!(planned.site, "a.example>b.example>c.example");
}

#[test]
fn equal_preferences_are_shuffled_and_others_stay() {
    let answer = mx(&[(10, "a"), (10, "b"), (10, "c"), (20, "z")]);
    let addresses = ["a", "b", "c", "z"].map(|host| at(host, &["192.0.2.1"]));
    let mut orders = HashSet::new();
    for seed in 0..200 {
        let planned = plan(&answer, &addresses, seed).expect("has hosts");
        assert_eq!(names(&planned)[3], "z");
        orders.insert(names(&planned)[..3].join(""));
    }
    assert_eq!(orders.len(), 6, "every order comes up");
}

#[test]
fn without_mx_the_domain_is_its_own_host() {
    for answer in [Answer::NoRecords, Answer::Found(vec![])] {
        let planned = plan(&answer, &[at("example.com", &["192.0.2.7"])], 0).expect("a host");
        assert_eq!(names(&planned), ["example.com"]);
    }
    // RFC 5321 section 5.1: with MX records, the domain's own address is not used.
    let answer = mx(&[(10, "gone.example")]);
    let addresses = [at("gone.example", &[]), at("example.com", &["192.0.2.7"])];
    let refused = plan(&answer, &addresses, 0).expect_err("no fallback");
    assert!(refused.starts_with("550 5.4.4 "), "{refused}");
}

#[test]
fn what_has_no_plan_fails_with_its_reply() {
    let table: [(Answer<MxRecord>, Vec<Addresses>, &str); 12] = [
        (Answer::NoName, vec![], "550 5.1.2 "),
        (Answer::Failed("timeout".into()), vec![], "451 4.4.3 "),
        (
            Answer::NoRecords,
            vec![at("example.com", &[])],
            "550 5.1.2 ",
        ),
        (Answer::NoRecords, vec![failed("example.com")], "451 4.4.3 "),
        // Null MX, and one with a wrong preference.
        (mx(&[(0, "")]), vec![], "556 5.1.10 "),
        (mx(&[(10, "")]), vec![], "556 5.1.10 "),
        // One host does not resolve for now, the other has no address: it may work later.
        (
            mx(&[(10, "a"), (20, "b")]),
            vec![failed("a"), at("b", &[])],
            "451 4.4.3 ",
        ),
        (mx(&[(10, "a")]), vec![], "451 4.4.3 "),
        (
            mx(&[(10, "a")]),
            vec![at("a", &["0.0.0.0", "ff02::1"])],
            "550 5.4.4 ",
        ),
        // Ourselves by name, then by address.
        (
            mx(&[(10, "mx.example.org")]),
            vec![at("mx.example.org", &[])],
            "554 5.4.6 ",
        ),
        (
            mx(&[(10, "a")]),
            vec![at("a", &["198.51.100.9"])],
            "554 5.4.6 ",
        ),
        // A better host that fails for now is worth the wait, though we are the next one.
        (
            mx(&[(10, "a"), (20, "mx.example.org")]),
            vec![failed("a")],
            "451 4.4.3 ",
        ),
    ];
    for (answer, addresses, expected) in table {
        let reply = plan(&answer, &addresses, 0).expect_err(expected);
        assert!(
            reply.starts_with(expected),
            "{answer:?} {addresses:?}: {reply}"
        );
    }
}

#[test]
fn as_a_backup_we_keep_the_better_hosts_only() {
    let answer = mx(&[(10, "a"), (20, "b"), (20, "mx.example.org"), (30, "c")]);
    let addresses = ["a", "b", "c", "mx.example.org"].map(|host| at(host, &["192.0.2.1"]));
    assert_eq!(
        names(&plan(&answer, &addresses, 0).expect("a is better")),
        ["a"]
    );
}

#[test]
fn a_root_exchange_beside_hosts_is_ignored() {
    let planned = plan(&mx(&[(0, ""), (10, "a")]), &[at("a", &["192.0.2.1"])], 0);
    assert_eq!(names(&planned.expect("a host")), ["a"]);
}

#[test]
fn counts_are_bounded_and_the_best_hosts_stay() {
    let many: Vec<(u16, String)> = (0..50).map(|n| (n, format!("h{n:02}"))).collect();
    let answer = mx(&many
        .iter()
        .map(|(n, host)| (*n, host.as_str()))
        .collect::<Vec<_>>());
    let candidates = candidates(&domain(), &answer, BOUNDS).expect("hosts");
    assert_eq!(candidates.hosts.len(), 10);
    assert_eq!(candidates.hosts[0].host, "h00");
    let many: Vec<IpAddr> = (1..=200u8).map(|n| [192, 0, 2, n].into()).collect();
    assert_eq!(
        order_addresses(&many, 5, &mut fastrand::Rng::with_seed(1)).len(),
        5
    );
}

#[test]
fn families_alternate_and_ipv6_goes_first() {
    let found: Vec<IpAddr> = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.1"]
        .map(|a| a.parse().expect("address"))
        .into();
    let ordered = order_addresses(&found, 9, &mut fastrand::Rng::with_seed(3));
    assert_eq!(ordered.len(), 3, "each address once");
    assert!(ordered[0].is_ipv6() && ordered[1].is_ipv4() && ordered[2].is_ipv4());
}

#[test]
fn a_host_named_twice_keeps_its_better_preference() {
    let answer = mx(&[(20, "a"), (10, "A"), (15, "b")]);
    let candidates = candidates(&domain(), &answer, BOUNDS).expect("hosts");
    let order: Vec<_> = candidates
        .hosts
        .iter()
        .map(|c| (c.preference, c.host.as_str()))
        .collect();
    assert_eq!(order, [(10, "a"), (15, "b")]);
}

#[test]
fn a_given_host_needs_an_address_only() {
    let given = |answer: &Answer<IpAddr>| {
        let mut rng = fastrand::Rng::with_seed(0);
        decide_given(&domain(), "relay.example", 587, answer, BOUNDS, &mut rng)
            .map_err(|reply| reply.to_string())
    };
    let planned = given(&Answer::Found(vec![[192, 0, 2, 1].into()])).expect("a host");
    assert_eq!(
        (planned.site.as_str(), planned.port),
        ("relay.example:587", 587)
    );
    assert!(
        given(&Answer::Failed("timeout".into()))
            .expect_err("fails")
            .starts_with("451 4.4.3 ")
    );
    // Even a name that does not exist: the operator may mend the route.
    assert!(
        given(&Answer::NoName)
            .expect_err("fails")
            .starts_with("550 5.4.4 ")
    );
}

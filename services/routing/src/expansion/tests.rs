use std::collections::HashMap;

use postino_proto::store::v1::AliasEntry;
use proptest::prelude::*;

use super::*;

/// A directory of example.org: accounts by number, aliases by targets.
#[derive(Default)]
struct Directory(HashMap<String, Entry>);

impl Directory {
    fn account(mut self, address: &str, account: u64, state: AccountState) -> Self {
        let entry = AccountEntry {
            account,
            shard: 1,
            address: address.into(),
            state: state.into(),
            moving: None,
        };
        self.0.insert(address.into(), Entry::Account(entry));
        self
    }

    fn alias(mut self, address: &str, targets: &[&str]) -> Self {
        let targets = targets.iter().map(|&target| target.to_owned()).collect();
        let entry = AliasEntry {
            address: address.into(),
            targets,
        };
        self.0.insert(address.into(), Entry::Alias(entry));
        self
    }

    fn lookup(&self, address: &str) -> LookupResponse {
        if address == "@" {
            let accounts = self.0.values().filter_map(|entry| match entry {
                Entry::Account(account) if account.state() == AccountState::Active => Some(account),
                _ => None,
            });
            let oldest = accounts.min_by_key(|entry| entry.account).cloned();
            return LookupResponse {
                domain_is_local: true,
                entry: oldest.map(Entry::Account),
            };
        }
        let domain_is_local = address.ends_with("@example.org");
        LookupResponse {
            domain_is_local,
            entry: self.0.get(address).cloned(),
        }
    }
}

fn rules() -> Rules {
    Rules {
        hostname: "mx.example.org".into(),
        own_addresses: vec!["192.0.2.25".parse().expect("address")],
        postmaster: Some("alice@example.org".parse().expect("address")),
        depth: 4,
        targets: 10,
    }
}

fn directory() -> Directory {
    Directory::default()
        .account("alice@example.org", 1, AccountState::Active)
        .account("bob@example.org", 2, AccountState::Active)
        .account("new@example.org", 3, AccountState::Creating)
        .account("old@example.org", 4, AccountState::Removing)
        .alias("al@example.org", &["alice@example.org"])
        .alias(
            "team@example.org",
            &["alice@example.org", "al@example.org", "bob@example.org"],
        )
        .alias(
            "mixed@example.org",
            &["bob@example.org", "Out@Elsewhere.net", "gone@example.org"],
        )
        .alias("loop@example.org", &["loop2@example.org"])
        .alias("loop2@example.org", &["loop@example.org"])
        .alias(
            "loopbob@example.org",
            &["loopbob@example.org", "bob@example.org"],
        )
        .alias(
            "fresh@example.org",
            &["alice@example.org", "new@example.org"],
        )
        .alias("dead@example.org", &["gone@example.org"])
}

/// "address>account" of each target, or the reply.
fn resolve_with(rules: &Rules, directory: &Directory, to: &str, relay: Relay) -> String {
    let recipient: Recipient = to.parse().expect("recipient");
    let mut expansion = Expansion::new(rules, &recipient, relay);
    for _ in 0..1000 {
        match expansion.step() {
            Step::Lookup(address) => expansion.answer(directory.lookup(&address)),
            Step::Refused(reply) => return reply.to_string(),
            Step::Targets(targets) => {
                assert!(
                    targets
                        .iter()
                        .all(|target| target.original == recipient.to_string())
                );
                let account = |t: &Target| t.local.as_ref().map_or(0, |local| local.account);
                let show = |target: &Target| format!("{}>{}", target.address, account(target));
                return targets.iter().map(show).collect::<Vec<_>>().join(" ");
            }
        }
    }
    panic!("the expansion of {to} does not end");
}

fn resolve(to: &str) -> String {
    resolve_with(&rules(), &directory(), to, Relay::Denied)
}

#[test]
fn recipients_reach_their_mailboxes() {
    for (to, expected) in [
        ("alice@example.org", "alice@example.org>1"),
        ("ALICE@Example.ORG", "ALICE@example.org>1"),
        ("alice+news@example.org", "alice+news@example.org>1"),
        ("al@example.org", "alice@example.org>1"),
        ("al+tag@example.org", "alice@example.org>1"),
        // Two ways to one mailbox give one copy.
        ("team@example.org", "alice@example.org>1 bob@example.org>2"),
        // An alias may lead outside, and a dead target costs the others nothing.
        ("mixed@example.org", "bob@example.org>2 Out@elsewhere.net>0"),
        ("loopbob@example.org", "bob@example.org>2"),
    ] {
        assert_eq!(resolve(to), expected, "{to}");
    }
}

#[test]
fn refusals_say_why() {
    for (to, code) in [
        ("nobody@example.org", "550 5.1.1 "),
        ("nobody+tag@example.org", "550 5.1.1 "),
        ("old@example.org", "550 5.1.1 "),
        ("dead@example.org", "550 5.1.1 "),
        ("loop@example.org", "550 5.1.1 "),
        ("new@example.org", "451 4.2.1 "),
        ("fresh@example.org", "451 4.2.1 "),
        ("someone@elsewhere.net", "550 5.7.1 "),
        ("someone@[192.0.2.99]", "550 5.7.1 "),
        ("alice@[192.0.2.25]", "550 5.1.1 "),
        ("alice@mx.example.org", "550 5.7.1 "),
    ] {
        let reply = resolve(to);
        assert!(reply.starts_with(code), "{to}: {reply}");
    }
}

#[test]
fn the_authenticated_may_relay() {
    let to = "Someone@Elsewhere.net";
    let relayed = resolve_with(&rules(), &directory(), to, Relay::Allowed);
    assert_eq!(relayed, "Someone@elsewhere.net>0");
}

#[test]
fn the_catch_all_takes_what_nobody_else_does() {
    let directory = directory().alias("@example.org", &["bob@example.org"]);
    let resolve = |to: &str| resolve_with(&rules(), &directory, to, Relay::Denied);
    assert_eq!(resolve("nobody@example.org"), "bob@example.org>2");
    assert_eq!(resolve("nobody+x@example.org"), "bob@example.org>2");
    assert_eq!(resolve("alice+x@example.org"), "alice+x@example.org>1");
    assert_eq!(resolve("postmaster@example.org"), "bob@example.org>2");
}

#[test]
fn postmaster_is_always_accepted() {
    let names = [
        "postmaster",
        "Postmaster",
        "postmaster@example.org",
        "PostMaster@mx.example.org",
        "postmaster@[192.0.2.25]",
    ];
    for to in names {
        assert_eq!(resolve(to), "alice@example.org>1", "{to}");
    }
    let own = directory().alias("postmaster@example.org", &["bob@example.org"]);
    let reply = resolve_with(&rules(), &own, "postmaster@example.org", Relay::Denied);
    assert_eq!(reply, "bob@example.org>2");
    // Not configured: whoever was here first. Nobody at all: the letter is not lost.
    let unset = Rules {
        postmaster: None,
        ..rules()
    };
    for to in names {
        let reply = resolve_with(&unset, &directory(), to, Relay::Denied);
        assert!(reply.ends_with(">1"), "{to}: {reply}");
        let nobody = Directory::default();
        let reply = resolve_with(&unset, &nobody, to, Relay::Denied);
        assert!(reply.starts_with("451 4.3.5 "), "{to}: {reply}");
    }
}

#[test]
fn a_postmaster_setting_that_leads_nowhere_does_not_refuse_for_good() {
    let gone = Rules {
        postmaster: Some("gone@example.org".parse().expect("address")),
        ..rules()
    };
    for to in ["postmaster", "postmaster@example.org"] {
        let reply = resolve_with(&gone, &directory(), to, Relay::Denied);
        assert!(reply.starts_with("451 4.3.5 "), "{to}: {reply}");
    }
}

#[test]
fn depth_and_count_are_bounded() {
    let mut deep = directory();
    for n in 0..6 {
        deep = deep.alias(
            &format!("d{n}@example.org"),
            &[&format!("d{}@example.org", n + 1)],
        );
    }
    deep = deep.alias("d6@example.org", &["alice@example.org"]);
    let reply = resolve_with(&rules(), &deep, "d0@example.org", Relay::Denied);
    assert!(reply.starts_with("550 5.4.6 "), "{reply}");
    assert_eq!(
        resolve_with(&rules(), &deep, "d3@example.org", Relay::Denied),
        "alice@example.org>1"
    );
    let many: Vec<String> = (0..50).map(|n| format!("u{n}@elsewhere.net")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let wide = directory().alias("wide@example.org", &many);
    let reply = resolve_with(&rules(), &wide, "wide@example.org", Relay::Denied);
    assert!(reply.starts_with("550 5.5.3 "), "{reply}");
}

proptest! {
    /// Whatever the aliases are, an expansion ends, and gives each account one copy.
    #[test]
    fn every_expansion_ends(edges in prop::collection::vec((0u8..8, prop::collection::vec(0u8..12, 0..4)), 0..8)) {
        let mut directory = Directory::default();
        for account in 8..12u8 {
            directory = directory.account(&format!("a{account}@example.org"), account.into(), AccountState::Active);
        }
        for (from, to) in &edges {
            let to: Vec<String> = to.iter().map(|n| format!("a{n}@example.org")).collect();
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            directory = directory.alias(&format!("a{from}@example.org"), &to);
        }
        for from in 0..8 {
            let reached = resolve_with(&rules(), &directory, &format!("a{from}@example.org"), Relay::Denied);
            if reached.contains('>') {
                let mut accounts: Vec<&str> = reached.split(' ').collect();
                let all = accounts.len();
                accounts.sort_unstable();
                accounts.dedup();
                prop_assert_eq!(accounts.len(), all);
            }
        }
    }
}

use std::net::IpAddr;
use std::time::Duration;

use postino_proto::store::v1::lookup_response::Entry;
use postino_proto::store::v1::{AccountEntry, AccountState, AliasEntry, LookupResponse};
use postino_telemetry::Registry;

use super::*;
use crate::plan::{Bounds, Ourselves};
use crate::planner::Ttls;
use crate::records::{Answer, MxRecord, Timed};
use crate::transport::Transports;

/// alice has account 1 and the alias `al`; `down` cannot be looked up.
struct Entries;

impl Directory for Entries {
    async fn lookup(&self, address: &str) -> Result<LookupResponse, DirectoryUnavailable> {
        let entry = match address {
            "alice@example.org" => Some(Entry::Account(AccountEntry {
                account: 1,
                shard: 2,
                address: address.into(),
                state: AccountState::Active.into(),
                moving: None,
            })),
            "al@example.org" => Some(Entry::Alias(AliasEntry {
                address: address.into(),
                targets: vec!["alice@example.org".into()],
            })),
            "down@example.org" => return Err(DirectoryUnavailable("no leader".into())),
            _ => None,
        };
        Ok(LookupResponse {
            domain_is_local: address.ends_with("@example.org"),
            entry,
        })
    }
}

/// A DNS where every name has one address.
struct OneHost;

impl Dns for OneHost {
    async fn mx(&self, _: &str) -> Timed<MxRecord> {
        Timed {
            answer: Answer::NoRecords,
            ttl: Duration::from_secs(90),
        }
    }

    async fn addresses(&self, _: &str) -> Timed<IpAddr> {
        Timed {
            answer: Answer::Found(vec![[192, 0, 2, 1].into()]),
            ttl: Duration::from_secs(90),
        }
    }
}

fn service() -> RoutingService<Entries, OneHost> {
    let second = Duration::from_secs(1);
    let ttls = Ttls {
        min: second,
        max: second * 600,
        failure: second,
    };
    let bounds = Bounds {
        hosts: 5,
        addresses: 5,
        port: 25,
    };
    let transports = Transports::default();
    let planner = Planner::new(OneHost, transports, Ourselves::default(), bounds, ttls, 10);
    let rules = Rules {
        hostname: "mx.example.org".into(),
        own_addresses: Vec::new(),
        postmaster: None,
        depth: 5,
        targets: 10,
    };
    RoutingService::new(Entries, planner, rules, Metrics::new(&Registry::new()))
}

async fn resolve(recipient: &str, authenticated_account: u64) -> String {
    let request = ResolveRequest {
        recipient: recipient.into(),
        authenticated_account,
    };
    let response = service()
        .resolve(Request::new(request))
        .await
        .expect("an answer");
    match response.into_inner().verdict.expect("a verdict") {
        resolve_response::Verdict::Targets(targets) => {
            let shard = targets.recipients[0]
                .local
                .as_ref()
                .map(|local| local.shard);
            format!("{} on {shard:?}", targets.recipients[0].address)
        }
        resolve_response::Verdict::Refusal(refusal) => {
            format!("{} {}", refusal.code, refusal.enhanced_status)
        }
    }
}

#[tokio::test]
async fn recipients_are_resolved_or_refused() {
    assert_eq!(
        resolve("al@example.org", 0).await,
        "alice@example.org on Some(2)"
    );
    assert_eq!(
        resolve("x@elsewhere.net", 9).await,
        "x@elsewhere.net on None"
    );
    assert_eq!(resolve("x@elsewhere.net", 0).await, "550 5.7.1");
    assert_eq!(resolve("down@example.org", 0).await, "451 4.3.0");
    assert_eq!(resolve("no address", 0).await, "553 5.1.3");
}

#[tokio::test]
async fn an_account_sends_as_itself_and_its_aliases_only() {
    let service = service();
    for (account, address, allowed) in [
        (1, "alice@example.org", true),
        (1, "Alice+tag@example.org", true),
        (1, "al@example.org", true),
        (2, "alice@example.org", false),
        (1, "other@example.org", false),
        (1, "alice@elsewhere.net", false),
        (1, "no address", false),
        (0, "alice@example.org", false),
    ] {
        let request = CheckSenderRequest {
            account,
            address: address.into(),
        };
        let answer = service
            .check_sender(Request::new(request))
            .await
            .expect("an answer");
        assert_eq!(
            answer.into_inner().allowed,
            allowed,
            "{account} as {address}"
        );
    }
    let request = CheckSenderRequest {
        account: 1,
        address: "down@example.org".into(),
    };
    let error = service
        .check_sender(Request::new(request))
        .await
        .expect_err("no directory");
    assert_eq!(error.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn a_plan_names_hosts_and_how_long_they_hold() {
    let request = PlanRequest {
        domain: "Remote.Example".into(),
    };
    let response = service()
        .plan(Request::new(request))
        .await
        .expect("an answer");
    let Some(plan_response::Plan::Hosts(hosts)) = response.into_inner().plan else {
        panic!("no hosts");
    };
    assert_eq!(
        (hosts.site.as_str(), hosts.hosts[0].port),
        ("remote.example", 25)
    );
    assert_eq!(hosts.hosts[0].addresses, ["192.0.2.1"]);
    assert!((88..=90).contains(&hosts.ttl_seconds));
    assert_eq!(hosts.hosts[0].tls(), TlsPolicy::Opportunistic);
}

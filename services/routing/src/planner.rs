//! Looks up what a plan is decided from, and keeps it as long as the records allow.
//!
//! The cache holds the records, not the decision: hosts of equal preference are shuffled anew for
//! each question. Questions about one domain that come together share one look-up.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use postino_types::{Domain, Reply};
use tokio::sync::OnceCell;

use crate::dns::Dns;
use crate::plan::{self, Bounds, Candidates, Ourselves, Planned};
use crate::records::{Addresses, Answer, Timed};
use crate::transport::Transports;

/// How long facts are kept, whatever the records say.
#[derive(Debug, Clone, Copy)]
pub struct Ttls {
    /// At least.
    pub min: Duration,
    /// At most.
    pub max: Duration,
    /// For look-ups that failed.
    pub failure: Duration,
}

/// Makes plans.
pub struct Planner<D> {
    dns: D,
    transports: Transports,
    ourselves: Ourselves,
    bounds: Bounds,
    ttls: Ttls,
    facts: moka::sync::Cache<Domain, Arc<OnceCell<Facts>>>,
}

/// What was looked up for a domain.
#[derive(Debug)]
struct Facts {
    of: Looked,
    valid_until: Instant,
}

#[derive(Debug)]
enum Looked {
    /// The domain's own hosts.
    Hosts {
        candidates: Candidates,
        addresses: Vec<Addresses>,
    },
    /// A host that was given by a route or a literal.
    Given {
        host: String,
        port: u16,
        answer: Answer<IpAddr>,
    },
    /// There are no hosts.
    Refused(Reply),
}

/// A plan and how long it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedPlan {
    /// The plan, or the reply that mail to the domain fails with.
    pub plan: Result<Planned, Reply>,
    /// How long it holds.
    pub ttl: Duration,
}

impl<D: Dns> Planner<D> {
    /// A planner with an empty cache of up to `domains` domains.
    pub fn new(
        dns: D,
        transports: Transports,
        ourselves: Ourselves,
        bounds: Bounds,
        ttls: Ttls,
        domains: u64,
    ) -> Self {
        let facts = moka::sync::Cache::builder()
            .max_capacity(domains)
            .time_to_live(ttls.max)
            .build();
        Self {
            dns,
            transports,
            ourselves,
            bounds,
            ttls,
            facts,
        }
    }

    /// The hosts for a domain's mail, in the order to try.
    pub async fn plan(&self, domain: &Domain) -> TimedPlan {
        let cell = self.cell(domain);
        let facts = cell.get_or_init(|| self.look_up(domain)).await;
        let mut rng = fastrand::Rng::new();
        let plan = match &facts.of {
            Looked::Hosts {
                candidates,
                addresses,
            } => plan::decide(
                domain,
                candidates,
                addresses,
                &self.ourselves,
                self.bounds,
                &mut rng,
            ),
            Looked::Given { host, port, answer } => {
                plan::decide_given(domain, host, *port, answer, self.bounds, &mut rng)
            }
            Looked::Refused(reply) => Err(reply.clone()),
        };
        TimedPlan {
            plan,
            ttl: facts.valid_until.saturating_duration_since(Instant::now()),
        }
    }

    /// The cell of a domain's facts; an empty one if they are unknown or too old.
    fn cell(&self, domain: &Domain) -> Arc<OnceCell<Facts>> {
        let stale = |cell: &Arc<OnceCell<Facts>>| {
            cell.get()
                .is_some_and(|facts| facts.valid_until <= Instant::now())
        };
        let entry = self.facts.entry_by_ref(domain);
        entry.or_insert_with_if(Arc::default, stale).into_value()
    }

    async fn look_up(&self, domain: &Domain) -> Facts {
        if let Some(hop) = self.transports.find(domain) {
            let (answer, ttl) = self.given(&hop.host, hop.address()).await;
            let of = Looked::Given {
                host: hop.host.clone(),
                port: hop.port,
                answer,
            };
            return self.facts_for(of, ttl);
        }
        if let Some(address) = domain.literal_address() {
            let of = match self.ourselves.addresses.contains(&address) {
                true => Looked::Refused(plan::loops_back(domain)),
                false => {
                    let (host, port) = (address.to_string(), self.bounds.port);
                    Looked::Given {
                        host,
                        port,
                        answer: Answer::Found(vec![address]),
                    }
                }
            };
            return self.facts_for(of, self.ttls.max);
        }
        let mx = self.dns.mx(domain.as_str()).await;
        match plan::candidates(domain, &mx.answer, self.bounds) {
            Ok(candidates) => {
                let (addresses, ttl) = self.addresses(&candidates).await;
                self.facts_for(
                    Looked::Hosts {
                        candidates,
                        addresses,
                    },
                    ttl.min(mx.ttl),
                )
            }
            Err(reply) => self.facts_for(Looked::Refused(reply), mx.ttl),
        }
    }

    async fn given(&self, host: &str, address: Option<IpAddr>) -> (Answer<IpAddr>, Duration) {
        match address {
            Some(address) => (Answer::Found(vec![address]), self.ttls.max),
            None => {
                let Timed { answer, ttl } = self.dns.addresses(host).await;
                (answer, ttl)
            }
        }
    }

    async fn addresses(&self, candidates: &Candidates) -> (Vec<Addresses>, Duration) {
        let ask = |host: &str| {
            let host = host.to_owned();
            async move {
                let Timed { answer, ttl } = self.dns.addresses(&host).await;
                (Addresses { host, answer }, ttl)
            }
        };
        let answers = join_all(candidates.hosts.iter().map(|c| ask(&c.host))).await;
        let ttl = answers
            .iter()
            .map(|(_, ttl)| *ttl)
            .min()
            .unwrap_or(self.ttls.max);
        (
            answers
                .into_iter()
                .map(|(addresses, _)| addresses)
                .collect(),
            ttl,
        )
    }

    fn facts_for(&self, of: Looked, ttl: Duration) -> Facts {
        let failed = |answer: &Answer<IpAddr>| matches!(answer, Answer::Failed(_));
        let broken = match &of {
            Looked::Hosts { addresses, .. } => addresses.iter().any(|a| failed(&a.answer)),
            Looked::Given { answer, .. } => failed(answer),
            Looked::Refused(reply) => reply.code() < 500,
        };
        let ttl = match broken {
            true => self.ttls.failure.min(self.ttls.max),
            false => ttl.clamp(self.ttls.min, self.ttls.max),
        };
        Facts {
            of,
            valid_until: Instant::now() + ttl,
        }
    }
}

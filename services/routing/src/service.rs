//! The `Routing` gRPC service.

use postino_proto::routing::v1::routing_server::{Routing, RoutingServer};
use postino_proto::routing::v1::{
    CheckSenderRequest, CheckSenderResponse, Host, Hosts, PlanRequest, PlanResponse, Refusal,
    ResolveRequest, ResolveResponse, Targets, TlsPolicy, plan_response, resolve_response,
};
use postino_types::{Domain, EmailAddress, EnhancedStatus, Recipient, Reply};
use tonic::{Request, Response, Status};
use tracing::Instrument;

use crate::directory::{Directory, DirectoryUnavailable};
use crate::dns::Dns;
use crate::expansion::{Expansion, Relay, Rules, Step};
use crate::metrics::Metrics;
use crate::plan::Planned;
use crate::planner::{Planner, TimedPlan};

/// Answers for routing.
pub struct RoutingService<R, D> {
    directory: R,
    planner: Planner<D>,
    rules: Rules,
    metrics: Metrics,
}

impl<R: Directory, D: Dns> RoutingService<R, D> {
    /// Puts the service together.
    pub fn new(directory: R, planner: Planner<D>, rules: Rules, metrics: Metrics) -> Self {
        Self {
            directory,
            planner,
            rules,
            metrics,
        }
    }

    /// The server to mount.
    pub fn server(self, max_message: usize) -> RoutingServer<Self> {
        RoutingServer::new(self)
            .max_decoding_message_size(max_message)
            .max_encoding_message_size(max_message)
    }

    /// What to do with one recipient: its targets, or the reply to refuse it with.
    pub async fn resolve_recipient(&self, recipient: &Recipient, relay: Relay) -> Step {
        match self.expand(recipient, relay).await {
            Ok(step) => step,
            Err(error) => {
                tracing::warn!(%error, "a recipient cannot be resolved");
                Step::Refused(unavailable())
            }
        }
    }

    /// Whether an account may send from an address: its own, also with a `+tag`, or an alias that
    /// leads to it.
    pub async fn may_send(
        &self,
        account: u64,
        address: &EmailAddress,
    ) -> Result<bool, DirectoryUnavailable> {
        let recipient = Recipient::Address(address.clone());
        let leads_there = match self.expand(&recipient, Relay::Denied).await? {
            Step::Targets(targets) => targets
                .iter()
                .filter_map(|target| target.local.as_ref())
                .any(|local| local.account == account),
            Step::Refused(_) | Step::Lookup(_) => false,
        };
        Ok(leads_there && account != 0)
    }

    async fn expand(
        &self,
        recipient: &Recipient,
        relay: Relay,
    ) -> Result<Step, DirectoryUnavailable> {
        let mut expansion = Expansion::new(&self.rules, recipient, relay);
        loop {
            match expansion.step() {
                Step::Lookup(address) => expansion.answer(self.directory.lookup(&address).await?),
                end => return Ok(end),
            }
        }
    }
}

#[tonic::async_trait]
impl<R: Directory, D: Dns> Routing for RoutingService<R, D> {
    async fn resolve(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<Response<ResolveResponse>, Status> {
        let ResolveRequest {
            recipient,
            authenticated_account,
        } = request.into_inner();
        let relay = match authenticated_account {
            0 => Relay::Denied,
            _ => Relay::Allowed,
        };
        let step = match recipient.parse::<Recipient>() {
            Ok(recipient) => self.resolve_recipient(&recipient, relay).await,
            Err(error) => Step::Refused(bad_address(&error.to_string())),
        };
        self.metrics.resolved(&step);
        let verdict = match step {
            Step::Targets(recipients) => resolve_response::Verdict::Targets(Targets { recipients }),
            Step::Refused(reply) => resolve_response::Verdict::Refusal(Refusal::from(&reply)),
            Step::Lookup(_) => return Err(Status::internal("the expansion did not end")),
        };
        Ok(Response::new(ResolveResponse {
            verdict: Some(verdict),
        }))
    }

    async fn check_sender(
        &self,
        request: Request<CheckSenderRequest>,
    ) -> Result<Response<CheckSenderResponse>, Status> {
        let CheckSenderRequest { account, address } = request.into_inner();
        let allowed = match address.parse::<EmailAddress>() {
            Ok(address) => self
                .may_send(account, &address)
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?,
            Err(_) => false,
        };
        Ok(Response::new(CheckSenderResponse { allowed }))
    }

    async fn plan(&self, request: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        let PlanRequest { domain } = request.into_inner();
        let plan = match domain.parse::<Domain>() {
            Ok(domain) => self.traced_plan(&domain).await,
            Err(error) => {
                plan_response::Plan::Failure(Refusal::from(&bad_address(&error.to_string())))
            }
        };
        Ok(Response::new(PlanResponse { plan: Some(plan) }))
    }
}

impl<R: Directory, D: Dns> RoutingService<R, D> {
    async fn traced_plan(&self, domain: &Domain) -> plan_response::Plan {
        let span = tracing::info_span!(
            "mx.lookup",
            mail.recipient_domain = %domain,
            mail.site = tracing::field::Empty,
            smtp.reply_code = tracing::field::Empty,
        );
        let TimedPlan { plan, ttl } = self.planner.plan(domain).instrument(span.clone()).await;
        self.metrics.planned(&plan);
        match plan {
            Ok(planned) => {
                span.record("mail.site", planned.site.as_str());
                // A second at least: zero would read as "no time given".
                let ttl_seconds = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).max(1);
                plan_response::Plan::Hosts(hosts(planned, ttl_seconds))
            }
            Err(reply) => {
                span.record("smtp.reply_code", reply.code());
                plan_response::Plan::Failure(Refusal::from(&reply))
            }
        }
    }
}

fn hosts(planned: Planned, ttl_seconds: u32) -> Hosts {
    let port = u32::from(planned.port);
    let host = |host: crate::plan::PlannedHost| Host {
        name: host.name,
        port,
        addresses: host.addresses.iter().map(ToString::to_string).collect(),
        preference: u32::from(host.preference),
        // MTA-STS (RFC 8461) and DANE (RFC 7672) will decide this per host.
        tls: TlsPolicy::Opportunistic.into(),
    };
    Hosts {
        site: planned.site,
        hosts: planned.hosts.into_iter().map(host).collect(),
        ttl_seconds,
    }
}

fn unavailable() -> Reply {
    Reply::new(
        451,
        EnhancedStatus::temporary(3, 0),
        "the directory cannot be asked, try again",
    )
}

fn bad_address(why: &str) -> Reply {
    Reply::new(553, EnhancedStatus::permanent(1, 3), why)
}

#[cfg(test)]
mod tests;

//! One letter at one site: the hosts are tried in the plan's order until one takes part.

use std::net::{IpAddr, SocketAddr};

use postino_proto::routing::v1::{Host, Hosts, TlsPolicy};
use postino_types::{EnhancedStatus, Permanence, Reply};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::session::{Session, SessionError, TlsUse};
use super::transaction::Transacted;
use super::{Parcel, Remote};
use crate::config::Starttls;
use crate::feedback::Signal;
use crate::lease::Tenure;
use crate::outcome::Attempted;
use crate::sites::{Postponed, Slot};
use crate::work::GroupEnd;

/// A host's address to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) address: SocketAddr,
    pub(super) verified: bool,
}

impl Remote {
    /// Sends a letter from this process, in as many transactions as its recipients need.
    pub(crate) async fn deliver_here(
        &self,
        parcel: &Parcel,
        hosts: &Hosts,
        tenure: &Tenure,
    ) -> GroupEnd {
        let targets = targets(hosts, self.config.addresses);
        let mut end = GroupEnd::results(Vec::new());
        for recipients in parcel.recipients.chunks(self.config.recipients) {
            match self.sites.enter(&hosts.site).await {
                Ok(slot) => {
                    let part = Parcel {
                        recipients: recipients.to_vec(),
                        ..parcel.clone()
                    };
                    match self.send(&part, &targets, &slot, tenure).await {
                        Some(results) => end.results.extend(results),
                        None => {
                            end.postponed = Some(self.retry.mul_f64(1.0 + 2.0 * fastrand::f64()));
                            break;
                        }
                    }
                }
                Err(Postponed(wait)) => {
                    end.postponed = Some(wait);
                    break;
                }
            }
        }
        end
    }

    /// Sends one part to the first host that takes part, over an unused connection if there is one.
    /// `None`: we broke it off ourselves, and it is no attempt.
    async fn send(
        &self,
        parcel: &Parcel,
        targets: &[Target],
        slot: &Slot<Session>,
        tenure: &Tenure,
    ) -> Option<Vec<Attempted>> {
        let usable = |session: &Session| targets.contains(session.target()) && session.is_fresh();
        while let Some(session) = slot.take_idle(usable) {
            let target = session.target().clone();
            let span = deliver_span(parcel, &target);
            let transacted = self
                .transact(session, parcel, tenure)
                .instrument(span)
                .await;
            match transacted {
                Transacted::Done { results, session } => {
                    return Some(concluded(slot, results, session));
                }
                Transacted::BrokenOff => return None,
                // The server closed it while nobody used it.
                Transacted::NotBegun { .. } => {}
            }
        }
        let mut failures = Failures::default();
        for target in targets {
            if !tenure.holds(Instant::now()) {
                return None;
            }
            let span = deliver_span(parcel, target);
            let tried = async {
                let session = match self.open(target).await {
                    Ok(session) => session,
                    Err(reply) => return Transacted::NotBegun { reply },
                };
                self.transact(session, parcel, tenure).await
            };
            match tried.instrument(span.clone()).await {
                Transacted::Done { results, session } => {
                    return Some(concluded(slot, results, session));
                }
                Transacted::BrokenOff => return None,
                Transacted::NotBegun { reply } => {
                    span.record("smtp.reply_code", reply.code());
                    tracing::info!(
                        queue_id = %parcel.id,
                        host = target.host,
                        address = %target.address,
                        %reply,
                        "host does not take part"
                    );
                    failures.note(target, reply);
                }
            }
        }
        slot.learn(Signal::Failed);
        let (reply, host) = failures.conclusion();
        Some(parcel.all(&reply, &host))
    }

    /// A session that is ready for a letter; TLS that fails is done without where the plan allows
    /// it, on a new connection (RFC 7435 section 3).
    async fn open(&self, target: &Target) -> Result<Session, Reply> {
        let tls = match (target.verified, self.session.starttls) {
            (true, _) => TlsUse::Verified,
            (false, Starttls::Opportunistic) => TlsUse::IfOffered,
            (false, Starttls::Never) => TlsUse::Never,
        };
        self.metrics.connected();
        match Session::open(target, tls, &self.session).await {
            Ok(session) => Ok(session),
            Err(SessionError::Tls(why)) if tls == TlsUse::IfOffered => {
                tracing::info!(host = target.host, why, "TLS failed, plain text is used");
                self.metrics.connected();
                let again = Session::open(target, TlsUse::Never, &self.session).await;
                again.map_err(|error| error.reply(target))
            }
            Err(error) => Err(error.reply(target)),
        }
    }
}

/// What the hosts said that did not take part.
#[derive(Debug, Default)]
struct Failures(Vec<(String, Reply)>);

impl Failures {
    fn note(&mut self, target: &Target, reply: Reply) {
        self.0.push((target.host.clone(), reply));
    }

    /// The reply for the recipients. It is permanent only if every host said so: a host that could
    /// not be asked may take the letter tomorrow.
    fn conclusion(self) -> (Reply, String) {
        let temporary =
            |(_, reply): &&(String, Reply)| reply.failure() != Some(Permanence::Permanent);
        let last = self.0.iter().rev().find(temporary).or(self.0.last());
        match last {
            Some((host, reply)) => (reply.clone(), host.clone()),
            None => (no_address(), String::new()),
        }
    }
}

/// The addresses to try, host after host.
fn targets(hosts: &Hosts, most: usize) -> Vec<Target> {
    let of_host = |host: &Host| {
        let port = u16::try_from(host.port).unwrap_or(25);
        let verified = host.tls() == TlsPolicy::Verified;
        let name = host.name.clone();
        let addresses: Vec<IpAddr> = host
            .addresses
            .iter()
            .filter_map(|address| address.parse().ok())
            .collect();
        addresses.into_iter().map(move |address| Target {
            host: name.clone(),
            address: SocketAddr::new(address, port),
            verified,
        })
    };
    hosts.hosts.iter().flat_map(of_host).take(most).collect()
}

fn concluded(
    slot: &Slot<Session>,
    results: Vec<Attempted>,
    session: Option<Box<Session>>,
) -> Vec<Attempted> {
    slot.learn(Signal::Answered);
    if let Some(session) = session {
        match session.may_be_kept() {
            true => slot.keep(*session),
            false => drop(tokio::spawn(session.quit())),
        }
    }
    results
}

fn deliver_span(parcel: &Parcel, target: &Target) -> Span {
    tracing::info_span!(
        "smtp.deliver",
        otel.kind = "client",
        mail.queue_id = %parcel.id,
        mail.recipients = parcel.recipients.len(),
        mail.size = parcel.size,
        server.address = target.host,
        server.port = target.address.port(),
        tls.protocol.version = tracing::field::Empty,
        smtp.reply_code = tracing::field::Empty,
        mail.outcome = tracing::field::Empty,
    )
}

fn no_address() -> Reply {
    Reply::new(
        451,
        EnhancedStatus::temporary(4, 4),
        "the plan has no usable address",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_tried_in_order_and_bounded() {
        let host = |name: &str, addresses: &[&str], tls: TlsPolicy| Host {
            name: name.into(),
            port: 2525,
            addresses: addresses
                .iter()
                .map(|&address| address.to_owned())
                .collect(),
            preference: 1,
            tls: tls.into(),
        };
        let hosts = Hosts {
            hosts: vec![
                host(
                    "a",
                    &["192.0.2.1", "2001:db8::1", "broken"],
                    TlsPolicy::Verified,
                ),
                host("b", &["192.0.2.2", "192.0.2.3"], TlsPolicy::Opportunistic),
            ],
            ..Hosts::default()
        };
        let tried: Vec<String> = targets(&hosts, 3)
            .iter()
            .map(|target| format!("{}@{} {}", target.host, target.address, target.verified))
            .collect();
        let expected = [
            "a@192.0.2.1:2525 true",
            "a@[2001:db8::1]:2525 true",
            "b@192.0.2.2:2525 false",
        ];
        assert_eq!(tried, expected);
    }

    #[test]
    fn only_if_every_host_refuses_for_good_is_it_for_good() {
        let target = |host: &str| Target {
            host: host.into(),
            address: ([192, 0, 2, 1], 25).into(),
            verified: false,
        };
        let refused = || Reply::new(554, EnhancedStatus::permanent(7, 1), "go away");
        let unreachable = || Reply::new(451, EnhancedStatus::temporary(4, 1), "no route");
        let conclude = |replies: Vec<Reply>| {
            let mut failures = Failures::default();
            for (number, reply) in replies.into_iter().enumerate() {
                failures.note(&target(&number.to_string()), reply);
            }
            let (reply, host) = failures.conclusion();
            (reply.code(), host)
        };
        assert_eq!(conclude(vec![refused(), refused()]), (554, "1".into()));
        assert_eq!(conclude(vec![unreachable(), refused()]), (451, "0".into()));
        assert_eq!(conclude(vec![refused(), unreachable()]), (451, "1".into()));
        assert_eq!(conclude(vec![]), (451, String::new()));
    }
}

//! One letter at one site: the hosts are tried in the plan's order for as long as a recipient needs
//! another one. Who does is decided in `course`.

use std::net::{IpAddr, SocketAddr};

use postino_proto::routing::v1::{Host, Hosts, TlsPolicy};
use postino_types::EmailAddress;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::course::{Course, Failure};
use super::session::{Session, SessionError, TlsUse};
use super::transaction::Transacted;
use super::{Parcel, Remote};
use crate::asked::Asked;
use crate::config::Starttls;
use crate::feedback::Signal;
use crate::lease::Tenure;
use crate::sites::Slot;
use crate::work::GroupEnd;

/// A host's address to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) address: SocketAddr,
    pub(super) verified: bool,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.host, self.address)
    }
}

impl Remote {
    /// Sends a letter from this process, in as many transactions as its recipients need.
    pub(crate) async fn deliver_here(
        &self,
        parcel: &Parcel,
        hosts: &Hosts,
        asked: Option<Asked>,
        tenure: &Tenure,
    ) -> GroupEnd {
        let targets = targets(hosts, self.config.addresses);
        let mut end = GroupEnd::results(Vec::new());
        for recipients in parcel.recipients.chunks(self.config.recipients) {
            match self.sites.enter(&hosts.site, asked).await {
                Ok(slot) => {
                    let sent = self.send(parcel, recipients, &targets, &slot, tenure).await;
                    end.results.extend(sent.results);
                    end.postponed = sent.postponed;
                }
                Err(postponed) => end.postponed = Some(postponed),
            }
            if end.postponed.is_some() {
                break;
            }
        }
        end
    }

    /// Sends to some of a letter's recipients: first over unused connections, then to each host
    /// that was not asked yet. Postponed: we broke it off ourselves.
    async fn send(
        &self,
        parcel: &Parcel,
        recipients: &[(u32, EmailAddress)],
        targets: &[Target],
        slot: &Slot<Session>,
        tenure: &Tenure,
    ) -> GroupEnd {
        let mut course = Course::new(recipients);
        while !course.is_over() {
            let usable = |session: &Session| {
                let target = session.target();
                targets.contains(target) && !course.has_tried(target) && session.is_fresh()
            };
            let Some(session) = slot.take_idle(usable) else {
                break;
            };
            let target = session.target().clone();
            let part = parcel.part(&course);
            let span = deliver_span(&part, &target);
            let transacted = self.transact(session, &part, tenure).instrument(span);
            match transacted.await {
                Transacted::Done { verdicts, session } => {
                    course.answered(&target, verdicts);
                    put_back(slot, session);
                }
                Transacted::BrokenOff => return self.broken_off(course, slot),
                // The server closed it while nobody used it.
                Transacted::NotBegun(_) => {}
            }
        }
        for target in targets {
            if course.is_over() {
                break;
            }
            if course.has_tried(target) {
                continue;
            }
            if !tenure.holds(Instant::now()) {
                return self.broken_off(course, slot);
            }
            let part = parcel.part(&course);
            let span = deliver_span(&part, target);
            let tried = async {
                match self.open(target).await {
                    Ok(session) => self.transact(session, &part, tenure).await,
                    Err(failure) => Transacted::NotBegun(failure),
                }
            };
            match tried.instrument(span.clone()).await {
                Transacted::Done { verdicts, session } => {
                    course.answered(target, verdicts);
                    put_back(slot, session);
                }
                Transacted::BrokenOff => return self.broken_off(course, slot),
                Transacted::NotBegun(failure) => {
                    span.record("smtp.reply_code", failure.reply.code());
                    tracing::info!(
                        queue_id = %parcel.id,
                        host = target.host,
                        address = %target.address,
                        reply = %failure.reply,
                        "host does not take part"
                    );
                    course.failed(target, &failure);
                }
            }
        }
        match course.site() {
            Ok(()) => slot.learn(Signal::Answered),
            Err(reply) => slot.failed(&reply),
        }
        GroupEnd::results(course.end())
    }

    /// What was said so far stands; for the others it was no attempt.
    fn broken_off(&self, course: Course, slot: &Slot<Session>) -> GroupEnd {
        if course.site().is_ok() {
            slot.learn(Signal::Answered);
        }
        GroupEnd {
            results: course.break_off(),
            postponed: Some(self.soon()),
        }
    }

    /// A session that is ready for a letter; TLS that fails is done without where the plan allows
    /// it, on a new connection (RFC 7435 section 3).
    async fn open(&self, target: &Target) -> Result<Session, Failure> {
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
                again.map_err(|error| error.failure(target))
            }
            Err(error) => Err(error.failure(target)),
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

/// Keeps a connection for the next letter, or ends it.
fn put_back(slot: &Slot<Session>, session: Option<Box<Session>>) {
    match session {
        Some(session) if session.may_be_kept() => slot.keep(*session),
        Some(session) => drop(tokio::spawn(session.quit())),
        None => {}
    }
}

fn deliver_span(parcel: &Parcel, target: &Target) -> Span {
    tracing::info_span!(
        "smtp.deliver",
        otel.kind = "client",
        mail.queue_id = %parcel.id,
        email.message_id = parcel.message_id,
        mail.recipients = parcel.recipients.len(),
        mail.size = parcel.size,
        server.address = target.host,
        server.port = target.address.port(),
        tls.protocol.version = tracing::field::Empty,
        smtp.reply_code = tracing::field::Empty,
        mail.outcome = tracing::field::Empty,
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
}

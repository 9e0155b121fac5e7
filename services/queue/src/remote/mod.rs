//! Sending letters to other servers: where to, from which process, and how it went.

mod attempt;
mod conversion;
mod course;
mod peer;
mod session;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use postino_client::QueueClient;
use postino_proto::routing::v1::Hosts;
use postino_proto::store::v1::Letter;
use postino_types::{Domain, EmailAddress, QueueId, Reply, ReversePath};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Span;

pub(crate) use session::{Session, SessionSettings};

use self::course::Course;
use crate::asked::Asked;
use crate::config::RemoteConfig;
use crate::lease::{Tenure, Terms};
use crate::metrics::Metrics;
use crate::outcome::Attempted;
use crate::peers::{Peers, SiteOwner};
use crate::ports::{Routing, Store};
use crate::schedule::Schedule;
use crate::sites::{Postponed, Sites};
use crate::work::GroupEnd;

/// Sends letters to other servers.
pub(crate) struct Remote {
    /// Where letters are read from.
    pub(crate) store: Arc<dyn Store>,
    /// Where a domain's mail goes.
    pub(crate) routing: Arc<dyn Routing>,
    /// Sites that this process works.
    pub(crate) sites: Arc<Sites<Session>>,
    /// Who works the others.
    pub(crate) peers: watch::Receiver<Peers>,
    /// Calls to them.
    pub(crate) queue: QueueClient,
    /// Settings.
    pub(crate) config: RemoteConfig,
    /// Settings of connections.
    pub(crate) session: SessionSettings,
    /// How long leases hold.
    pub(crate) terms: Terms,
    /// Wait after a failure inside the cluster.
    pub(crate) retry: Duration,
    /// When letters are tried again.
    pub(crate) schedule: Schedule,
    /// Counters.
    pub(crate) metrics: Metrics,
}

/// A letter and those of its recipients that are sent to together: all of one domain.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) id: QueueId,
    pub(crate) reverse_path: ReversePath,
    /// Indexes in the envelope, and addresses.
    pub(crate) recipients: Vec<(u32, EmailAddress)>,
    pub(crate) size: u64,
    pub(crate) eight_bit: bool,
    /// For traces; empty if the letter has none.
    pub(crate) message_id: String,
}

impl Parcel {
    /// What a letter's record says about these recipients.
    pub(crate) fn new(id: QueueId, letter: &Letter, recipients: &[u32]) -> Result<Self, Reply> {
        let broken =
            |why: &str| Reply::new(554, postino_types::EnhancedStatus::permanent(3, 0), why);
        let envelope = letter
            .envelope
            .as_ref()
            .ok_or_else(|| broken("no envelope"))?;
        let address = |&index: &u32| {
            let place = usize::try_from(index).ok()?;
            let address = envelope.recipients.get(place)?.parsed_address().ok()?;
            Some((index, address))
        };
        Ok(Self {
            id,
            reverse_path: envelope
                .parsed_reverse_path()
                .map_err(|_| broken("the reverse-path is no address"))?,
            recipients: recipients.iter().filter_map(address).collect(),
            size: letter.size,
            eight_bit: envelope.eight_bit,
            message_id: envelope.message_id.clone(),
        })
    }

    /// The letter for those of its recipients that still need a host.
    fn part(&self, course: &Course) -> Self {
        Self {
            recipients: course.recipients(),
            ..self.clone()
        }
    }

    /// The same result for every recipient.
    pub(crate) fn all(&self, reply: &Reply, remote: &str) -> Vec<Attempted> {
        let result = |&(index, _): &(u32, EmailAddress)| Attempted {
            remote: remote.to_owned(),
            ..Attempted::ours(index, reply)
        };
        self.recipients.iter().map(result).collect()
    }
}

impl Remote {
    /// Sends a letter to recipients of one domain, from the process that works their site.
    pub(crate) async fn deliver(
        &self,
        id: QueueId,
        letter: &Letter,
        domain: &Domain,
        recipients: &[u32],
        tenure: &Tenure,
        asked: Option<Asked>,
    ) -> GroupEnd {
        let told = asked.filter(|asked| asked.is_about(letter, recipients));
        let parcel = match Parcel::new(id, letter, recipients) {
            Ok(parcel) => parcel,
            Err(reply) => {
                let result = |&recipient: &u32| Attempted::ours(recipient, &reply);
                return GroupEnd::results(recipients.iter().map(result).collect());
            }
        };
        let hosts = match self.plan(&parcel, domain).await {
            Ok(hosts) => hosts,
            Err(end) => return end,
        };
        let owner = self.peers.borrow().site_owner(&hosts.site);
        if let SiteOwner::There(endpoint) = owner {
            let request = peer::Request {
                parcel: &parcel,
                domain,
                letter,
            };
            match self.ask_peer(&endpoint, &request, tenure).await {
                // Who asked for it does not wait for what the peer knows of the site.
                peer::Answer::End(end) if told.is_some() && end.is_postponed() => {}
                peer::Answer::End(end) => return end,
                // Nobody is there: better two processes at a site than a letter that waits.
                peer::Answer::NotReached => {}
            }
        }
        let asked = told.max(Asked::of(letter, recipients, &self.schedule));
        self.deliver_here(&parcel, &hosts, asked, tenure).await
    }

    /// When something is tried again that failed inside the cluster.
    fn soon(&self) -> Postponed {
        Postponed::briefly(self.retry.mul_f64(1.0 + 2.0 * fastrand::f64()))
    }

    /// Where the domain's mail goes, or the end of the attempt.
    pub(crate) async fn plan(&self, parcel: &Parcel, domain: &Domain) -> Result<Hosts, GroupEnd> {
        match self.routing.plan(domain).await {
            Ok(Ok(hosts)) => {
                Span::current().record("mail.site", hosts.site.as_str());
                Ok(hosts)
            }
            Ok(Err(reply)) => Err(GroupEnd::results(parcel.all(&reply, ""))),
            Err(error) => {
                tracing::debug!(queue_id = %parcel.id, %error, "no plan yet");
                Err(GroupEnd::postponed(self.soon()))
            }
        }
    }

    /// Closes connections that are unused for too long, until it is dropped.
    pub(crate) async fn close_idle(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(1).min(self.config.idle.get())).await;
            for session in self.sites.expire(Instant::now()) {
                tokio::spawn(session.quit());
            }
        }
    }

    /// Says goodbye on all unused connections.
    pub(crate) async fn close_all(&self) {
        futures::future::join_all(self.sites.drain().into_iter().map(Session::quit)).await;
    }
}

//! Section `[queue]`.

use postino_config::{ByteSize, Duration, SettingError};
use serde::{Deserialize, Serialize};

use crate::feedback::Limits;
use crate::lease::Terms;
use crate::schedule::Schedule;

/// Section `[queue]`: the delivery queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Wait after the first failed attempt; it doubles with each further one.
    pub min_backoff: Duration,
    /// The longest wait between attempts.
    pub max_backoff: Duration,
    /// Each wait is stretched by a random part of up to this fraction, 0 to 1.
    pub jitter: f64,
    /// A letter that is not delivered after this time is returned to its sender.
    pub lifetime: Duration,
    /// When the sender is told that a letter is delayed; unset: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_notice: Option<Duration>,

    /// How long a shard's lease holds without renewal; at most `store.lease_limit`.
    pub lease_ttl: Duration,
    /// How much earlier its holder stops on its own.
    pub lease_margin: Duration,
    /// How often a process tells that it lives, and looks for shards to work.
    pub announce_interval: Duration,
    /// How long it counts as living after that.
    pub announce_ttl: Duration,

    /// When a shard goes to another process: time for what is under way.
    pub handover: Duration,

    /// How far ahead letters are kept in memory.
    pub horizon: Duration,
    /// Letters read from the due-time index at once.
    pub page: u32,
    /// Waiting letters kept in memory, per shard.
    pub waiting_letters: usize,
    /// Letters worked on at once, in the whole process.
    pub active_letters: usize,
    /// Letters filed into local mailboxes at once.
    pub local_deliveries: usize,
    /// Octets of large letters under way into local mailboxes; each counts for 4 MiB at most, and
    /// one is always let through.
    pub local_memory: ByteSize,
    /// How soon a delivery is tried again that failed inside Postino: no leader, no routing.
    pub internal_retry: Duration,

    /// Settings of delivery to other servers.
    pub remote: RemoteConfig,

    /// Letters settled in one commit.
    pub settle_letters: usize,
    /// Octets of notifications settled in one commit.
    pub settle_size: ByteSize,
    /// Diagnostic: waits before each settling, so that a test can stop the process between delivery
    /// and settling.
    pub settle_delay: Duration,

    /// A letter up to this size comes back whole in a notification, if its sender asks for that;
    /// otherwise its header does.
    pub returned_letter: ByteSize,
    /// Most of a header that comes back.
    pub returned_header: ByteSize,
}

/// Section `[queue.remote]`: delivery to other servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteConfig {
    /// Connections to all sites at once.
    pub connections: usize,
    /// Connections that a new site gets.
    pub site_initial: u32,
    /// Most connections that a site gets.
    pub site_limit: u32,
    /// So many cohorts of failed connections in a row mean that a site is dead.
    pub site_failed_cohorts: u32,
    /// How long a dead site is left alone at first; never longer than `queue.min_backoff`.
    pub site_min_pause: Duration,
    /// How long at most.
    pub site_max_pause: Duration,
    /// Letters that wait for a connection to one site; more of them wait outside.
    pub site_waiting: usize,
    /// Recipients in one transaction. RFC 5321 section 4.5.3.1.8 makes every server take 100.
    pub recipients: usize,
    /// Addresses tried in one attempt, over all hosts.
    pub addresses: usize,
    /// How long an unused connection is kept for the next letter.
    pub idle: Duration,
    /// Letters over one connection.
    pub connection_letters: u32,
    /// How old a connection gets.
    pub connection_age: Duration,
    /// Whether STARTTLS is used where a server offers it.
    pub starttls: Starttls,
    /// Time for a TCP connection.
    pub connect_timeout: Duration,
    /// Time for a TLS handshake.
    pub tls_timeout: Duration,
    /// Time for the greeting (RFC 5321 section 4.5.3.2.1).
    pub greeting_timeout: Duration,
    /// Time for the reply to EHLO, STARTTLS, RSET.
    pub command_timeout: Duration,
    /// Time for the reply to MAIL (section 4.5.3.2.2).
    pub mail_timeout: Duration,
    /// Time for the reply to RCPT (section 4.5.3.2.3).
    pub rcpt_timeout: Duration,
    /// Time for the reply to DATA (section 4.5.3.2.4).
    pub data_timeout: Duration,
    /// Time for each block of the letter (section 4.5.3.2.5).
    pub block_timeout: Duration,
    /// Time for the reply to the final dot (section 4.5.3.2.6).
    pub final_timeout: Duration,
    /// Time for the reply to QUIT.
    pub quit_timeout: Duration,
}

/// Whether STARTTLS is used where a server offers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Starttls {
    /// Yes; if it fails, plain text on a new connection, unless the plan demands TLS.
    #[default]
    Opportunistic,
    /// Only where the plan demands TLS.
    Never,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            min_backoff: Duration::secs(300),
            max_backoff: Duration::secs(4000),
            jitter: 0.2,
            lifetime: Duration::days(5),
            delay_notice: None,
            lease_ttl: Duration::secs(10),
            lease_margin: Duration::secs(2),
            announce_interval: Duration::secs(2),
            announce_ttl: Duration::secs(8),
            handover: Duration::secs(30),
            horizon: Duration::secs(60),
            page: 500,
            waiting_letters: 20_000,
            active_letters: 4_000,
            local_deliveries: 64,
            local_memory: ByteSize::mib(8),
            internal_retry: Duration::secs(1),
            remote: RemoteConfig::default(),
            settle_letters: 256,
            settle_size: ByteSize::mib(1),
            settle_delay: Duration::default(),
            returned_letter: ByteSize::kib(50),
            returned_header: ByteSize::kib(32),
        }
    }
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self {
            connections: 500,
            site_initial: 5,
            site_limit: 20,
            site_failed_cohorts: 1,
            site_min_pause: Duration::secs(60),
            site_max_pause: Duration::mins(10),
            site_waiting: 1000,
            recipients: 100,
            addresses: 5,
            idle: Duration::secs(5),
            connection_letters: 100,
            connection_age: Duration::mins(5),
            starttls: Starttls::Opportunistic,
            connect_timeout: Duration::secs(30),
            tls_timeout: Duration::secs(30),
            greeting_timeout: Duration::mins(5),
            command_timeout: Duration::mins(5),
            mail_timeout: Duration::mins(5),
            rcpt_timeout: Duration::mins(5),
            data_timeout: Duration::mins(2),
            block_timeout: Duration::mins(3),
            final_timeout: Duration::mins(10),
            quit_timeout: Duration::secs(10),
        }
    }
}

impl QueueConfig {
    /// Checks every setting; to be called before anything starts.
    pub fn check(&self) -> Result<(), SettingError> {
        let zero = Duration::default();
        let rules = [
            (self.min_backoff > zero, "min_backoff must not be 0"),
            (
                self.min_backoff <= self.max_backoff,
                "min_backoff must be at most max_backoff",
            ),
            (
                (0.0..=1.0).contains(&self.jitter),
                "jitter must be between 0 and 1",
            ),
            (self.lifetime > zero, "lifetime must not be 0"),
            (
                self.lease_margin < self.lease_ttl,
                "lease_margin must be shorter than lease_ttl",
            ),
            (
                self.announce_interval > zero,
                "announce_interval must not be 0",
            ),
            (
                self.announce_interval < self.announce_ttl,
                "announce_interval must be shorter than announce_ttl",
            ),
            (self.horizon > zero, "horizon must not be 0"),
            (self.page > 0, "page must not be 0"),
            (self.waiting_letters > 0, "waiting_letters must not be 0"),
            (self.active_letters > 0, "active_letters must not be 0"),
            (self.local_deliveries > 0, "local_deliveries must not be 0"),
            (self.internal_retry > zero, "internal_retry must not be 0"),
            (self.settle_letters > 0, "settle_letters must not be 0"),
            (
                self.remote.connections > 0,
                "remote.connections must not be 0",
            ),
            (
                self.remote.site_initial > 0,
                "remote.site_initial must not be 0",
            ),
            (
                self.remote.site_limit > 0,
                "remote.site_limit must not be 0",
            ),
            (
                self.remote.recipients > 0,
                "remote.recipients must not be 0",
            ),
            (self.remote.addresses > 0, "remote.addresses must not be 0"),
            (
                self.remote.connection_letters > 0,
                "remote.connection_letters must not be 0",
            ),
        ];
        postino_config::check("queue", &rules)
    }

    /// The schedule of retries.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            min_backoff: self.min_backoff.get(),
            max_backoff: self.max_backoff.get(),
            jitter: self.jitter,
            lifetime: self.lifetime.get(),
            delay_notice: self.delay_notice.map(Duration::get),
        }
    }

    /// The terms of leases.
    pub fn terms(&self) -> Terms {
        Terms {
            ttl: self.lease_ttl.get(),
            margin: self.lease_margin.get(),
        }
    }

    /// The limits of a site's concurrency. A pause longer than the wait of a letter would hold a
    /// letter back beyond its schedule.
    pub fn site_limits(&self) -> Limits {
        let remote = &self.remote;
        Limits {
            initial: remote.site_initial,
            most: remote.site_limit,
            failed_cohorts: remote.site_failed_cohorts,
            min_pause: remote.site_min_pause.min(self.min_backoff).get(),
            max_pause: remote.site_max_pause.min(self.max_backoff).get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_sound_and_mistakes_are_named() {
        assert_eq!(QueueConfig::default().check(), Ok(()));
        let mut config = QueueConfig::default();
        config.lease_margin = config.lease_ttl;
        let error = config.check().expect_err("a mistake");
        assert_eq!(
            error.to_string(),
            "queue.lease_margin must be shorter than lease_ttl"
        );
        config = QueueConfig {
            jitter: f64::NAN,
            ..QueueConfig::default()
        };
        assert!(config.check().is_err());
    }

    #[test]
    fn a_site_is_never_left_alone_longer_than_a_letter_waits() {
        let config = QueueConfig {
            min_backoff: Duration::secs(1),
            ..QueueConfig::default()
        };
        assert_eq!(
            config.site_limits().min_pause,
            std::time::Duration::from_secs(1)
        );
    }
}

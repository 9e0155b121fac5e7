//! Settings of the replicated log, and the configuration of openraft that they become.

use std::time::Duration;

/// How the replicated log behaves. The defaults suit replicas in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftSettings {
    /// How often a leader shows that it is alive.
    pub heartbeat: Duration,
    /// A follower that has heard nothing for a time between these two campaigns,
    /// after waiting out the leader's lease (the maximum).
    pub election_min: Duration,
    /// See `election_min`.
    pub election_max: Duration,
    /// Bytes of commands and bodies that may go into one entry. One proposal
    /// alone may exceed it, up to `proposal_bytes`.
    pub entry_bytes: usize,
    /// Commands that may go into one entry.
    pub entry_commands: usize,
    /// Entries of a shard that may be on their way at once. While so many are,
    /// further proposals gather and make a larger entry.
    pub entries_in_flight: usize,
    /// Bytes of one proposal.
    pub proposal_bytes: usize,
    /// Bytes of proposals of a shard that may wait or be on their way; more are
    /// refused as overload.
    pub queued_bytes: usize,
    /// Bytes of entries in one message to a peer; one entry alone may exceed it.
    pub message_bytes: usize,
    /// Messages of a shard on their way to one peer.
    pub messages_in_flight: usize,
    /// Bytes of entries on their way to one peer, over all shards.
    pub peer_bytes: usize,
    /// Entries of a shard's log that are kept at most; past them the older half is purged, once
    /// applied. Those who are behind are waited for, up to four times as many.
    pub log_entries: u64,
    /// Bytes of a shard's log that are kept at most, bodies not counted; see `log_entries`.
    pub log_bytes: u64,
    /// Bytes of snapshots that this node sends per second; 0 is without limit.
    pub snapshot_rate: u64,
    /// Snapshots that this node sends at once, and receives at once.
    pub snapshots_at_once: usize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// A connected peer that has been silent for this long is asked for a sign
    /// of life, and given up when none comes in as long again.
    pub keep_alive: Duration,
}

impl Default for RaftSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(400),
            election_min: Duration::from_millis(1200),
            election_max: Duration::from_millis(1500),
            entry_bytes: 1 << 20,
            entry_commands: 256,
            entries_in_flight: 4,
            proposal_bytes: 8 << 20,
            queued_bytes: 16 << 20,
            message_bytes: 1 << 20,
            messages_in_flight: 8,
            peer_bytes: 16 << 20,
            log_entries: 20_000,
            log_bytes: 16 << 20,
            snapshot_rate: 64 << 20,
            snapshots_at_once: 2,
            connect_timeout: Duration::from_secs(2),
            keep_alive: Duration::from_secs(1),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl RaftSettings {
    /// The same in openraft's words; fails when the times contradict each other.
    pub(crate) fn openraft(
        &self,
        cluster: String,
    ) -> Result<openraft::Config, openraft::ConfigError> {
        openraft::Config {
            cluster_name: cluster,
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            enable_pre_vote: Some(true),
            allow_log_reversion: Some(false),
            // A leader replicates entries before its own disk has them. After a power
            // failure it may have lost the last of them, and must not go on in the same
            // term, where it could give their indexes to other entries.
            enable_leader_restore: Some(false),
            // When to purge is decided by bytes, which openraft does not know.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            max_payload_entries: 1024,
            ..openraft::Config::default()
        }
        .validate()
    }
}

//! Section `[store]`.

use postino_config::{ByteSize, Duration, SettingError};
use serde::{Deserialize, Serialize};

use crate::db::{DbSettings, RoomSettings};
use crate::raft::RaftSettings;

/// The replicated store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Mail shards of a cluster that this node makes; fixed for the cluster's life. One machine
    /// does well with 16, a large cluster with 64.
    pub shards: u32,
    /// Other nodes, `http://HOST:PORT`, that a node which belongs to no cluster asks to be taken
    /// in, until one does. A database that is damaged is put aside at the next start, if every shard
    /// has a leader among the others, and the node comes back as a new one in its own place. Empty:
    /// it waits for a command, and keeps what it has.
    pub join: Vec<String>,
    /// Largest message that is accepted, filed or appended.
    pub message_limit: ByteSize,
    /// Bodies up to this size go into the command that files them; larger ones go ahead in chunks.
    pub inline_limit: ByteSize,
    /// Size of a chunk.
    pub chunk_size: ByteSize,
    /// Chunks of one upload that may be on their way at once.
    pub upload_window: u32,
    /// Memory for all chunks on their way on this node.
    pub upload_memory: ByteSize,
    /// How long a chunk waits while its shard is overloaded.
    pub upload_patience: Duration,
    /// An upload without a new chunk for so long is forgotten.
    pub upload_ttl: Duration,
    /// How long an accepted letter's id is remembered, so that a repeated hand-over is recognised.
    pub accepted_ttl: Duration,
    /// How long a filed letter's id is remembered, so that no late attempt files it twice. Must
    /// exceed `queue.lifetime` by a day; a letter that is older is not filed but returned.
    pub filed_ttl: Duration,
    /// How long an append's id is remembered.
    pub appended_ttl: Duration,
    /// How often a shard's leader looks for what can be forgotten.
    pub reap_interval: Duration,
    /// Rows that one command of housekeeping removes at most.
    pub reap_page: u32,
    /// Recipients of one letter.
    pub recipients_limit: u32,
    /// Mailboxes of one account.
    pub mailbox_limit: u32,
    /// Messages that one command changes at most; larger requests become several commands.
    pub messages_page: u32,
    /// Octets that a new account may store; 0 is without limit.
    pub quota_size: ByteSize,
    /// Messages that a new account may store; 0 is without limit.
    pub quota_messages: u64,
    /// Longest lease that a queue may ask for.
    pub lease_limit: Duration,
    /// How long a step that spans shards waits for a leader.
    pub forward_patience: Duration,
    /// The zone that this node is in, such as a room or a data centre: replicas of a shard are
    /// spread over zones.
    pub zone: String,
    /// How long the leads of this node may take to go to other nodes when it stops.
    pub hand_over: Duration,
    /// Where replicas and leads are.
    pub placement: PlacementConfig,
    /// Backups.
    pub backup: BackupConfig,
    /// The replicated log.
    pub raft: RaftConfig,
    /// The database.
    pub database: DatabaseConfig,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            shards: 16,
            join: Vec::new(),
            message_limit: ByteSize::mib(64),
            inline_limit: ByteSize::kib(64),
            chunk_size: ByteSize::kib(256),
            upload_window: 4,
            upload_memory: ByteSize::mib(8),
            upload_patience: Duration::secs(30),
            upload_ttl: Duration::mins(15),
            accepted_ttl: Duration::days(1),
            filed_ttl: Duration::days(14),
            appended_ttl: Duration::hours(1),
            reap_interval: Duration::secs(60),
            reap_page: 2_000,
            recipients_limit: 1_000,
            mailbox_limit: 2_000,
            messages_page: 2_000,
            quota_size: ByteSize::bytes(0),
            quota_messages: 0,
            lease_limit: Duration::mins(1),
            forward_patience: Duration::secs(10),
            zone: String::new(),
            hand_over: Duration::secs(5),
            placement: PlacementConfig::default(),
            backup: BackupConfig::default(),
            raft: RaftConfig::default(),
            database: DatabaseConfig::default(),
        }
    }
}

impl StoreConfig {
    /// Checks what the types cannot: how the settings fit together.
    pub fn check(&self) -> Result<(), SettingError> {
        let proposal = self.raft.proposal_size.get();
        let (raft, database) = (&self.raft, &self.database);
        let zero = Duration::default();
        let rules = [
            (
                (1..=crate::identity::MAX_SHARDS).contains(&self.shards),
                "shards must be between 1 and 1024",
            ),
            (self.inline_limit.get() > 0, "inline_limit must not be 0"),
            (
                self.inline_limit.get().saturating_add(1 << 20) <= proposal,
                "inline_limit must leave 1 MiB of raft.proposal_size for the command",
            ),
            (self.chunk_size.get() > 0, "chunk_size must not be 0"),
            (
                self.chunk_size.get().saturating_add(4096) <= proposal,
                "chunk_size must be smaller than raft.proposal_size by 4 KiB",
            ),
            (
                self.upload_memory >= self.chunk_size,
                "upload_memory must hold one chunk",
            ),
            (self.upload_window > 0, "upload_window must not be 0"),
            (self.upload_ttl > zero, "upload_ttl must not be 0"),
            (self.reap_page > 0, "reap_page must not be 0"),
            (self.reap_interval > zero, "reap_interval must not be 0"),
            (self.recipients_limit > 0, "recipients_limit must not be 0"),
            (self.mailbox_limit > 0, "mailbox_limit must not be 0"),
            (self.messages_page > 0, "messages_page must not be 0"),
            (self.lease_limit > zero, "lease_limit must not be 0"),
            (raft.log_entries > 0, "raft.log_entries must not be 0"),
            (raft.log_size.get() > 0, "raft.log_size must not be 0"),
            (
                raft.snapshots_at_once > 0,
                "raft.snapshots_at_once must not be 0",
            ),
            (raft.heartbeat > zero, "raft.heartbeat must not be 0"),
            (
                raft.heartbeat < raft.election_min,
                "raft.heartbeat must be shorter than raft.election_min",
            ),
            (
                raft.election_min < raft.election_max,
                "raft.election_min must be shorter than raft.election_max",
            ),
            (raft.entry_commands > 0, "raft.entry_commands must not be 0"),
            (
                raft.entries_in_flight > 0,
                "raft.entries_in_flight must not be 0",
            ),
            (
                raft.queued_size >= raft.proposal_size,
                "raft.queued_size must hold one proposal",
            ),
            (
                self.backup.rate.get() == 0 || self.backup.rate >= ByteSize::kib(64),
                "backup.rate must be 0, for no limit, or at least 64 KiB",
            ),
            (
                self.placement.leads_at_once > 0,
                "placement.leads_at_once must not be 0",
            ),
            (
                self.placement.move_patience > zero,
                "placement.move_patience must not be 0",
            ),
            (
                raft.snapshot_rate.get() == 0 || raft.snapshot_rate >= ByteSize::kib(64),
                "raft.snapshot_rate must be 0, for no limit, or at least 64 KiB",
            ),
            (
                database.background_jobs > 0,
                "database.background_jobs must not be 0",
            ),
            (
                database.write_buffer.get() > 0,
                "database.write_buffer must not be 0",
            ),
            (
                database.reserve.get() == 0
                    || database.reserve.get() / 2 >= database.write_buffer.get(),
                "database.reserve must be 0, or at least twice database.write_buffer, which must \
                 fit on the disk when it is full",
            ),
            (
                self.placement.replicas > 0,
                "placement.replicas must not be 0",
            ),
            (
                self.placement.accounts_at_once > 0,
                "placement.accounts_at_once must not be 0",
            ),
            (
                self.placement.account_rate.get() == 0
                    || self.placement.account_rate >= ByteSize::kib(64),
                "placement.account_rate must be 0, for no limit, or at least 64 KiB",
            ),
            (self.backup.hold > zero, "backup.hold must not be 0"),
            (self.backup.lifetime > zero, "backup.lifetime must not be 0"),
            (
                self.placement.interval > zero,
                "placement.interval must not be 0",
            ),
            (
                self.placement.moves_at_once > 0,
                "placement.moves_at_once must not be 0",
            ),
        ];
        postino_config::check("store", &rules)
    }
}

/// Section `[store.placement]`: where replicas and leads are. What the node says that leads the
/// control group counts, so all nodes should have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlacementConfig {
    /// Replicas that each shard gets, as far as there are nodes; one less if that is an even
    /// number, which bears no more failures.
    pub replicas: u32,
    /// Whether shards get the replicas that they lack, and replicas and leads are evened out,
    /// without being asked; `postino cluster rebalance` asks.
    pub automatic: bool,
    /// How often nodes report, and what is to be done is looked at.
    pub interval: Duration,
    /// Replicas that move at once in the whole cluster: each is copied over the network.
    pub moves_at_once: u32,
    /// Leads that change at once.
    pub leads_at_once: u32,
    /// A move that makes no progress for so long is given up.
    pub move_patience: Duration,
    /// Accounts that move to another shard at once, in the whole cluster.
    pub accounts_at_once: u32,
    /// Octets that this node sends per second of accounts that move while they are in use; 0 is
    /// without limit, else 64 KiB at least. What comes meanwhile is sent at once in the end.
    pub account_rate: ByteSize,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        Self {
            replicas: 3,
            automatic: true,
            interval: Duration::secs(1),
            moves_at_once: 2,
            leads_at_once: 32,
            move_patience: Duration::mins(10),
            accounts_at_once: 2,
            account_rate: ByteSize::mib(64),
        }
    }
}

/// Section `[store.backup]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupConfig {
    /// How long outcomes of local deliveries may wait until all shards are cut; a backup that takes
    /// longer for that starts over. Mail is accepted and read meanwhile.
    pub hold: Duration,
    /// How long a shard that was cut may take to be read. What is removed in that time stays on the
    /// disk.
    pub lifetime: Duration,
    /// Bytes that this node sends per second to backups; 0 is without limit, else 64 KiB at least.
    pub rate: ByteSize,
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self {
            hold: Duration::secs(10),
            lifetime: Duration::hours(12),
            rate: ByteSize::bytes(0),
        }
    }
}

/// Section `[store.raft]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RaftConfig {
    /// How often a leader shows that it is alive.
    pub heartbeat: Duration,
    /// A follower that hears nothing for a time between these two campaigns.
    pub election_min: Duration,
    /// See `election_min`.
    pub election_max: Duration,
    /// Commands that may go into one log entry.
    pub entry_commands: u32,
    /// Bytes that may go into one log entry.
    pub entry_size: ByteSize,
    /// Entries of a shard that may be on their way at once.
    pub entries_in_flight: u32,
    /// Bytes of one proposal.
    pub proposal_size: ByteSize,
    /// Bytes of a shard's proposals that may wait; more are refused for the moment.
    pub queued_size: ByteSize,
    /// Entries of a shard's log that are kept at most; past them the older half is purged. While
    /// a follower is behind, up to four times as many are kept for it; one that is further behind
    /// gets a snapshot.
    pub log_entries: u32,
    /// Bytes of a shard's log that are kept at most, as `log_entries`; bodies are not counted.
    pub log_size: ByteSize,
    /// Bytes per second that this node sends to replicas that are far behind, as snapshots or as old
    /// entries; 0 is without limit.
    pub snapshot_rate: ByteSize,
    /// Snapshots that this node sends at once, and receives at once.
    pub snapshots_at_once: u32,
}

impl Default for RaftConfig {
    fn default() -> Self {
        let settings = RaftSettings::default();
        let millis = |duration: std::time::Duration| {
            Duration::millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
        };
        let size = |bytes: usize| ByteSize::bytes(bytes as u64);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            heartbeat: millis(settings.heartbeat),
            election_min: millis(settings.election_min),
            election_max: millis(settings.election_max),
            entry_commands: count(settings.entry_commands),
            entry_size: size(settings.entry_bytes),
            entries_in_flight: count(settings.entries_in_flight),
            proposal_size: size(settings.proposal_bytes),
            queued_size: size(settings.queued_bytes),
            log_entries: u32::try_from(settings.log_entries).unwrap_or(u32::MAX),
            log_size: ByteSize::bytes(settings.log_bytes),
            snapshot_rate: ByteSize::bytes(settings.snapshot_rate),
            snapshots_at_once: count(settings.snapshots_at_once),
        }
    }
}

impl RaftConfig {
    pub(crate) fn settings(&self) -> RaftSettings {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        RaftSettings {
            heartbeat: self.heartbeat.get(),
            election_min: self.election_min.get(),
            election_max: self.election_max.get(),
            entry_commands: count(self.entry_commands),
            entry_bytes: self.entry_size.as_usize(),
            entries_in_flight: count(self.entries_in_flight),
            proposal_bytes: self.proposal_size.as_usize(),
            queued_bytes: self.queued_size.as_usize(),
            log_entries: u64::from(self.log_entries),
            log_bytes: self.log_size.get(),
            snapshot_rate: self.snapshot_rate.get(),
            snapshots_at_once: count(self.snapshots_at_once),
            ..RaftSettings::default()
        }
    }
}

/// Section `[store.database]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Blocks kept in memory, indexes and filters included.
    pub block_cache: ByteSize,
    /// Writes kept in memory before they go to files.
    pub write_buffer: ByteSize,
    /// Threads that flush and compact.
    pub background_jobs: u32,
    /// Files that are kept open.
    pub open_files: u32,
    /// Bytes of the disk that are kept free: with less, nothing new is taken, until there is a
    /// quarter more. 0 switches this off; otherwise at least twice `write_buffer`, since that must go
    /// to the disk all the same.
    pub reserve: ByteSize,
    /// Size of a file that is given up when less than a quarter of the reserve is free.
    pub ballast: ByteSize,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        let settings = DbSettings::default();
        Self {
            block_cache: ByteSize::bytes(settings.block_cache as u64),
            write_buffer: ByteSize::bytes(settings.write_buffer as u64),
            background_jobs: settings.background_jobs.unsigned_abs(),
            open_files: settings.open_files.unsigned_abs(),
            reserve: ByteSize::mib(512),
            ballast: ByteSize::mib(64),
        }
    }
}

impl DatabaseConfig {
    pub(crate) fn room(&self) -> RoomSettings {
        RoomSettings {
            reserve: self.reserve.get(),
            ballast: self.ballast.get(),
        }
    }

    pub(crate) fn settings(&self) -> DbSettings {
        let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        DbSettings {
            block_cache: self.block_cache.as_usize(),
            write_buffer: self.write_buffer.as_usize(),
            background_jobs: count(self.background_jobs),
            open_files: count(self.open_files),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(StoreConfig::default().check(), Ok(()));
        let bad = StoreConfig {
            chunk_size: ByteSize::gib(1),
            ..StoreConfig::default()
        };
        assert!(
            bad.check()
                .unwrap_err()
                .to_string()
                .starts_with("store.chunk_size")
        );
    }
}

//! Section `[store]`.

use postino_config::{ByteSize, Duration};
use serde::{Deserialize, Serialize};

use crate::db::DbSettings;
use crate::raft::RaftSettings;

/// The replicated store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Mail shards of a cluster that this node makes; fixed for the cluster's life. One machine
    /// does well with 16, a large cluster with 64.
    pub shards: u32,
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
    /// How long a filed letter's id is remembered. Must exceed the longest life of a letter in the
    /// queue, or a late attempt could file a letter twice.
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
    /// Largest message of a gRPC call.
    pub grpc_message_limit: ByteSize,
    /// The replicated log.
    pub raft: RaftConfig,
    /// The database.
    pub database: DatabaseConfig,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            shards: 16,
            message_limit: ByteSize::mib(64),
            inline_limit: ByteSize::kib(64),
            chunk_size: ByteSize::kib(256),
            upload_window: 4,
            upload_memory: ByteSize::mib(32),
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
            grpc_message_limit: ByteSize::mib(16),
            raft: RaftConfig::default(),
            database: DatabaseConfig::default(),
        }
    }
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store.{setting}: {reason}")]
pub struct StoreConfigError {
    setting: &'static str,
    reason: &'static str,
}

impl StoreConfig {
    /// Checks what the types cannot: how the settings fit together.
    pub fn validate(&self) -> Result<(), StoreConfigError> {
        let proposal = self.raft.proposal_size;
        let checks = [
            (
                (1..=crate::identity::MAX_SHARDS).contains(&self.shards),
                "shards",
                "must be between 1 and 1024",
            ),
            (self.inline_limit.get() > 0, "inline_limit", "must not be 0"),
            (
                self.inline_limit.get() + (1 << 20) <= proposal.get(),
                "inline_limit",
                "must leave 1 MiB of raft.proposal_size for the command",
            ),
            (self.chunk_size.get() > 0, "chunk_size", "must not be 0"),
            (
                self.chunk_size.get() + 4096 <= proposal.get(),
                "chunk_size",
                "must be smaller than raft.proposal_size",
            ),
            (
                self.upload_memory >= self.chunk_size,
                "upload_memory",
                "must hold one chunk at least",
            ),
            (self.upload_window > 0, "upload_window", "must not be 0"),
            (self.reap_page > 0, "reap_page", "must not be 0"),
            (self.messages_page > 0, "messages_page", "must not be 0"),
            (
                self.reap_interval.as_millis() > 0,
                "reap_interval",
                "must not be 0",
            ),
        ];
        match checks.into_iter().find(|(holds, ..)| !holds) {
            Some((_, setting, reason)) => Err(StoreConfigError { setting, reason }),
            None => Ok(()),
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
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        let settings = DbSettings::default();
        Self {
            block_cache: ByteSize::bytes(settings.block_cache as u64),
            write_buffer: ByteSize::bytes(settings.write_buffer as u64),
            background_jobs: settings.background_jobs.unsigned_abs(),
            open_files: settings.open_files.unsigned_abs(),
        }
    }
}

impl DatabaseConfig {
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
        assert_eq!(StoreConfig::default().validate(), Ok(()));
        let bad = StoreConfig {
            chunk_size: ByteSize::gib(1),
            ..StoreConfig::default()
        };
        assert!(
            bad.validate()
                .unwrap_err()
                .to_string()
                .starts_with("store.chunk_size")
        );
    }
}

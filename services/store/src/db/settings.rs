//! Settings of the database, and the options of RocksDB that they become.

use rocksdb::{DBRecoveryMode, LogLevel, Options};

/// How much memory the database may use, and how hard it may work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbSettings {
    /// Bytes of blocks kept in memory, indexes and filters included.
    pub block_cache: usize,
    /// Bytes of writes kept in memory before they go to files, over all families.
    pub write_buffer: usize,
    /// Threads that flush and compact.
    pub background_jobs: i32,
    /// Files that are kept open.
    pub open_files: i32,
}

impl Default for DbSettings {
    fn default() -> Self {
        Self {
            block_cache: 32 << 20,
            write_buffer: 64 << 20,
            background_jobs: 2,
            open_files: 512,
        }
    }
}

impl DbSettings {
    pub(super) fn database_options(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_db_write_buffer_size(self.write_buffer);
        options.set_max_background_jobs(self.background_jobs);
        options.set_max_open_files(self.open_files);
        // The default, point-in-time recovery, drops what follows a damaged record
        // without a word: a replica would forget votes and entries it answered for.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        // A synced log file that is gone, or shorter than it was, fails the start.
        options.set_track_and_verify_wals_in_manifest(true);
        // A family that is seldom written must not hold the whole log back.
        options.set_max_total_wal_size(4 * self.write_buffer as u64);
        // The disk should not be left to write a whole file at once.
        options.set_bytes_per_sync(1 << 20);
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(4);
        options.set_max_log_file_size(4 << 20);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }
}

//! The column families: what each holds, and how RocksDB is to treat it.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompactionStyle, DBCompressionType,
    Options, UniversalCompactOptions,
};

use super::DbSettings;

/// The kinds of rows, each stored the way it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// The node itself: its identity, the generations of its shards.
    Meta,
    /// Raft's own state: votes, purge floors, how far a shard has applied.
    Raft,
    /// Log entries without their bodies.
    Log,
    /// Mail bodies and chunks, under the log index that brought them.
    Bodies,
    /// Domains, aliases, accounts, nodes.
    Directory,
    /// The delivery queue: envelopes, recipients, leases.
    Spool,
    /// Mailbox rows and the small row of each message.
    Mailbox,
    /// Immutable email records: ENVELOPE, BODYSTRUCTURE, part offsets.
    Email,
    /// The modseq index, the change log, tombstones.
    Change,
    /// Which deliveries have been filed.
    Dedupe,
}

/// How a family's files are laid out.
enum Layout {
    /// Rows that change and are looked up: levels, a bloom filter.
    Rows,
    /// Rows that rise with the log index and are written once. Levels would
    /// rewrite the lower level of every shard with each flush, since each flush
    /// spans all shards; tiers rewrite a byte once per doubling, so few times.
    Journal,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 10] = [
        Self::Meta,
        Self::Raft,
        Self::Log,
        Self::Bodies,
        Self::Directory,
        Self::Spool,
        Self::Mailbox,
        Self::Email,
        Self::Change,
        Self::Dedupe,
    ];

    /// Those that hold a shard's state: what apply writes, and replicas agree on.
    pub const STATE: [Self; 6] = [
        Self::Directory,
        Self::Spool,
        Self::Mailbox,
        Self::Email,
        Self::Change,
        Self::Dedupe,
    ];

    /// The family of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// Its name on disk, which must never change.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Raft => "raft",
            Self::Log => "log",
            Self::Bodies => "bodies",
            Self::Directory => "directory",
            Self::Spool => "spool",
            Self::Mailbox => "mailbox",
            Self::Email => "email",
            Self::Change => "change",
            Self::Dedupe => "dedupe",
        }
    }

    const fn layout(self) -> Layout {
        match self {
            Self::Log | Self::Bodies => Layout::Journal,
            _ => Layout::Rows,
        }
    }

    /// How much a memory table of this family may hold, in bytes. The sum over
    /// all families is bounded by [`DbSettings::write_buffer`].
    const fn memory_table(self) -> usize {
        match self {
            Self::Bodies => 16 << 20,
            Self::Meta | Self::Raft | Self::Directory => 2 << 20,
            _ => 16 << 20,
        }
    }

    const fn block_size(self) -> usize {
        match self {
            Self::Bodies => 32 << 10,
            Self::Email | Self::Log => 16 << 10,
            _ => 8 << 10,
        }
    }

    pub(super) fn options(self, cache: &Cache) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(cache);
        // Index and filter blocks count towards the cache, or memory would grow with the data.
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_block_size(self.block_size());
        table.set_format_version(5);

        let mut options = Options::default();
        options.set_write_buffer_size(self.memory_table());
        options.set_max_write_buffer_number(3);
        options.set_compression_type(DBCompressionType::Lz4);
        match self.layout() {
            Layout::Rows => {
                table.set_bloom_filter(10.0, false);
                options.set_level_compaction_dynamic_level_bytes(true);
                options.set_bottommost_compression_type(DBCompressionType::Zstd);
            }
            Layout::Journal => {
                let mut tiers = UniversalCompactOptions::default();
                tiers.set_min_merge_width(4);
                // Old bodies that nobody refers to any more may wait: rewriting
                // the whole family to reclaim them costs more than the space.
                tiers.set_max_size_amplification_percent(400);
                options.set_compaction_style(DBCompactionStyle::Universal);
                options.set_universal_compaction_options(&tiers);
                options.set_level_zero_file_num_compaction_trigger(8);
                options.set_level_zero_slowdown_writes_trigger(32);
                options.set_level_zero_stop_writes_trigger(48);
            }
        }
        options.set_block_based_table_factory(&table);
        options
    }
}

/// Whether files are merged in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merging {
    Automatic,
    /// For tests that must know which files there are.
    #[cfg(test)]
    Never,
}

/// What RocksDB needs to open every family.
pub(super) fn descriptors(settings: &DbSettings, merging: Merging) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(settings.block_cache);
    Family::ALL
        .iter()
        .map(|family| {
            let mut options = family.options(&cache);
            options.set_disable_auto_compactions(merging != Merging::Automatic);
            ColumnFamilyDescriptor::new(family.name(), options)
        })
        .collect()
}

//! The keys of one generation of one shard: every key starts with both.

use postino_types::ShardId;

/// The range of keys that one shard occupies in every family.
///
/// Each key of a shard starts with the shard's number and its generation, both
/// big-endian. Installing a snapshot fills a new generation and then flips to
/// it, so the old state stays readable until the new one is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Space {
    shard: ShardId,
    generation: u32,
}

impl Space {
    /// The generation of a shard that never received a snapshot.
    pub const FIRST_GENERATION: u32 = 1;

    /// The range of `shard` in `generation`.
    pub const fn new(shard: ShardId, generation: u32) -> Self {
        Self { shard, generation }
    }

    /// The shard.
    pub const fn shard(self) -> ShardId {
        self.shard
    }

    /// Its generation.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// A key in this range, to be continued.
    pub fn key(self) -> Key {
        Key(Vec::with_capacity(48))
            .u32(self.shard.get())
            .u32(self.generation)
    }
}

/// A key under construction: big-endian parts, so that keys sort as their parts do.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// An empty key; keys of a shard start with [`Space::key`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one byte, mostly a tag.
    #[must_use]
    pub fn u8(mut self, part: u8) -> Self {
        self.0.push(part);
        self
    }

    /// Appends a number, big-endian.
    #[must_use]
    pub fn u32(mut self, part: u32) -> Self {
        self.0.extend_from_slice(&part.to_be_bytes());
        self
    }

    /// Appends a number, big-endian.
    #[must_use]
    pub fn u64(mut self, part: u64) -> Self {
        self.0.extend_from_slice(&part.to_be_bytes());
        self
    }

    /// Appends bytes as they are: for a fixed length, or as the last part.
    #[must_use]
    pub fn bytes(mut self, part: &[u8]) -> Self {
        self.0.extend_from_slice(part);
        self
    }

    /// Appends text and a zero byte, so that parts may follow. Text with a zero
    /// byte in it would sort wrongly; none of ours has one.
    #[must_use]
    pub fn text(mut self, part: &str) -> Self {
        debug_assert!(!part.as_bytes().contains(&0), "text in keys has no NUL");
        self.0.extend_from_slice(part.as_bytes());
        self.0.push(0);
        self
    }

    /// The bytes so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Self {
        key.0
    }
}

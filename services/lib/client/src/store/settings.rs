//! Settings of the store's client.

use postino_config::{ByteSize, Duration, SettingError};
use serde::{Deserialize, Serialize};

/// Section `[store_client]`: how services talk to the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreClientConfig {
    /// Endpoints of store nodes, http://HOST:PORT; one that lives is enough to learn the others.
    pub endpoints: Vec<String>,
    /// How long a call may take, with everything that is tried.
    pub call_timeout: Duration,
    /// How long one attempt of a call that may be repeated waits for its answer.
    pub attempt_timeout: Duration,
    /// How long handing over a large letter may take, from its last octet on or as a whole.
    pub upload_timeout: Duration,
    /// How long the store may be silent while it sends what was asked for.
    pub read_timeout: Duration,
    /// How long a change stream may be silent; the store gives a sign of life every 2 s.
    pub watch_timeout: Duration,
    /// Letters up to this size are kept until they are accepted, so that handing them over can be
    /// repeated when the leader changes; larger ones are streamed once.
    pub replay_limit: ByteSize,
    /// How old the knowledge of shards and leaders may get.
    pub topology_refresh: Duration,
    /// How long an answer of the directory is used; 1s at most.
    pub directory_ttl: Duration,
    /// Answers of the directory that are kept at most.
    pub directory_entries: u64,
}

impl Default for StoreClientConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            call_timeout: Duration::secs(10),
            attempt_timeout: Duration::secs(4),
            upload_timeout: Duration::secs(120),
            read_timeout: Duration::secs(30),
            watch_timeout: Duration::secs(5),
            replay_limit: ByteSize::kib(256),
            topology_refresh: Duration::secs(5),
            directory_ttl: Duration::millis(900),
            directory_entries: 100_000,
        }
    }
}

impl StoreClientConfig {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), SettingError> {
        let zero = Duration::default();
        let rules = [
            (self.attempt_timeout > zero, "attempt_timeout must not be 0"),
            (
                self.attempt_timeout <= self.call_timeout,
                "attempt_timeout must be at most call_timeout",
            ),
            (self.upload_timeout > zero, "upload_timeout must not be 0"),
            (self.read_timeout > zero, "read_timeout must not be 0"),
            // The store gives a sign of life every 2 s.
            (
                self.watch_timeout > Duration::secs(2),
                "watch_timeout must exceed 2s",
            ),
            (
                self.topology_refresh > zero,
                "topology_refresh must not be 0",
            ),
            // Every process may use what the directory said for 1 s at most.
            (
                self.directory_ttl <= Duration::secs(1),
                "directory_ttl must be at most 1s",
            ),
        ];
        postino_config::check("store_client", &rules)
    }
}

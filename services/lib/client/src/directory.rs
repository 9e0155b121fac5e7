//! What the directory said, for a moment.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use postino_proto::store::v1::{LookupRequest, LookupResponse};
use postino_types::{Domain, EmailAddress};

use crate::{CallError, StoreClient};

/// The longest that an answer may be used (services/ARCHITECTURE.md, "The store").
const LONGEST: Duration = Duration::from_secs(1);

/// The directory with a bounded cache that is never older than 1 s; clones share it.
#[derive(Clone)]
pub struct DirectoryCache {
    store: StoreClient,
    answers: Cache<String, Arc<LookupResponse>>,
}

impl DirectoryCache {
    /// The directory of a store; lifetime and size of the cache are settings of its client.
    pub fn new(store: StoreClient) -> Self {
        let config = store.config();
        let answers = Cache::builder()
            .max_capacity(config.directory_entries)
            .time_to_live(config.directory_ttl.get().min(LONGEST))
            .build();
        Self { store, answers }
    }

    /// What the directory holds for an address, as it is: no alias expansion, no tag handling.
    pub async fn address(&self, address: &EmailAddress) -> Result<Arc<LookupResponse>, CallError> {
        self.lookup(address.folded()).await
    }

    /// The catch-all of a domain, and whether the domain is ours.
    pub async fn catch_all(&self, domain: &Domain) -> Result<Arc<LookupResponse>, CallError> {
        self.lookup(format!("@{domain}")).await
    }

    /// What the directory holds for a folded address.
    pub async fn lookup(&self, address: String) -> Result<Arc<LookupResponse>, CallError> {
        if let Some(answer) = self.answers.get(&address) {
            return Ok(answer);
        }
        let request = LookupRequest {
            address: address.clone(),
        };
        let answer = Arc::new(self.store.lookup(request).await?);
        self.answers.insert(address, Arc::clone(&answer));
        Ok(answer)
    }

    /// The store behind it.
    pub fn store(&self) -> &StoreClient {
        &self.store
    }
}

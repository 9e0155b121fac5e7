//! What routing asks the store's directory.

use std::future::Future;
use std::sync::Arc;

use postino_client::DirectoryCache;
use postino_proto::store::v1::LookupResponse;

/// The directory does not answer; the question may be asked again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the directory cannot be reached: {0}")]
pub struct DirectoryUnavailable(pub String);

/// Looks addresses up.
pub trait Directory: Send + Sync + 'static {
    /// What the directory holds for a folded address, or for the catch-all `@domain`.
    fn lookup(
        &self,
        address: &str,
    ) -> impl Future<Output = Result<LookupResponse, DirectoryUnavailable>> + Send;
}

/// The store's directory, remembered for at most a second.
impl Directory for DirectoryCache {
    async fn lookup(&self, address: &str) -> Result<LookupResponse, DirectoryUnavailable> {
        match DirectoryCache::lookup(self, address.to_owned()).await {
            Ok(found) => Ok(Arc::unwrap_or_clone(found)),
            Err(error) => Err(DirectoryUnavailable(error.to_string())),
        }
    }
}

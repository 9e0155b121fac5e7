//! Which shard a call goes to. An account may have moved since whoever calls looked it up: then its
//! old shard says where it went.

use std::future::Future;

use moka::sync::Cache;
use postino_proto::store::v1::Account;
use postino_types::{AccountId, ShardId};

use super::StoreClient;
use crate::CallError;

/// Accounts that are remembered. What is forgotten is told again.
const REMEMBERED: u64 = 100_000;
/// How often one call follows an account that moves on and on.
pub(crate) const MOVES: usize = 4;

/// Where the shard of a request stands.
pub(crate) enum Place<Q> {
    /// It follows from the request.
    Shard(fn(&Q) -> Result<ShardId, CallError>),
    /// It is that of this account.
    Account(fn(&mut Q) -> &mut Option<Account>),
}

/// Where accounts live that have moved.
#[derive(Debug)]
pub(super) struct Homes(Cache<u64, ShardId>);

impl Default for Homes {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl StoreClient {
    /// Has `call` made with a request and the shard that it is for; made again on another shard if
    /// the account turns out to live there.
    pub(crate) async fn placed<Q, R, F>(
        &self,
        request: Q,
        place: Place<Q>,
        call: impl Fn(Q, ShardId) -> F,
    ) -> Result<R, CallError>
    where
        Q: Clone,
        F: Future<Output = Result<R, CallError>>,
    {
        let account = match place {
            Place::Shard(shard) => {
                let shard = shard(&request)?;
                return call(request, shard).await;
            }
            Place::Account(account) => account,
        };
        let mut moves = 0;
        loop {
            let mut request = request.clone();
            let account = account(&mut request).as_mut();
            let account = account.ok_or_else(|| CallError::invalid("the call names no account"))?;
            let shard = self.home(account);
            let id = account.account;
            let error = match call(request, shard).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            moves += 1;
            if !self.learn(id, &error) || moves > MOVES {
                return Err(error);
            }
        }
    }

    /// Puts the shard into `account` that it lives on, as far as is known.
    pub(crate) fn home(&self, account: &mut Account) -> ShardId {
        if let Some(home) = self.0.homes.0.get(&account.account) {
            account.shard = home.get();
        }
        ShardId::new(account.shard)
    }

    /// Whether an error says where an account lives; from now on its calls go there.
    pub(crate) fn learn(&self, account: u64, error: &CallError) -> bool {
        let home = match error {
            CallError::Fault(fault) => fault.shard,
            _ => None,
        };
        if let Some(home) = home {
            let account = AccountId::new(account);
            tracing::debug!(%account, shard = %home, "the account has moved");
            self.0.homes.0.insert(account.get(), home);
        }
        home.is_some()
    }
}

//! The client of the administration service, which every store node serves.

use std::time::Duration;

use postino_proto::admin::v1::admin_client::AdminClient as Stub;
use postino_proto::admin::v1::{
    AddAccountRequest, AddAccountResponse, AddAliasRequest, AddAliasResponse, AddDomainRequest,
    AddDomainResponse, CallOffAccountMoveRequest, CallOffAccountMoveResponse, CredentialCost,
    GetCredentialCostRequest, ListAccountMovesRequest, ListAccountMovesResponse,
    ListAccountsRequest, ListAccountsResponse, ListAliasesRequest, ListAliasesResponse,
    ListDomainsRequest, ListDomainsResponse, ListQueueRequest, ListQueueResponse,
    MoveAccountRequest, MoveAccountResponse, ReleaseQueueRequest, ReleaseQueueResponse,
    RemoveAccountRequest, RemoveAccountResponse, RemoveAliasRequest, RemoveAliasResponse,
    RemoveDomainRequest, RemoveDomainResponse, RetryQueueRequest, RetryQueueResponse,
    SetPasswordRequest, SetPasswordResponse, ShowLetterRequest, ShowLetterResponse,
};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Response;

use crate::retry::{Backoff, Repeat, Verdict, judge};
use crate::{CallError, Channel, Channels, Items};

/// Administration through any of some endpoints. Cheap to clone.
///
/// A call goes to the next endpoint, and is made again while a shard has no leader, only if it
/// certainly did nothing so far or does the same twice as once.
#[derive(Clone)]
pub struct AdminClient {
    channels: Channels,
    endpoints: Vec<String>,
    limit: Duration,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $response:ty, $repeat:ident;)*) => {
        $(
            $(#[$doc])*
            pub async fn $name(&self, request: $request) -> Result<$response, CallError> {
                let max = self.channels.max_message();
                self.call(Repeat::$repeat, async |channel| {
                    let mut stub = Stub::new(channel).max_decoding_message_size(max);
                    stub.$name(request.clone()).await.map(Response::into_inner)
                })
                .await
            }
        )*
    };
}

impl AdminClient {
    /// Administration through these endpoints; `limit` is for each call.
    pub fn new(endpoints: Vec<String>, channels: Channels, limit: Duration) -> Self {
        Self {
            channels,
            endpoints,
            limit,
        }
    }

    calls! {
        /// Adds a domain.
        add_domain(AddDomainRequest) -> AddDomainResponse, Unsubmitted;
        /// All domains.
        list_domains(ListDomainsRequest) -> ListDomainsResponse, Always;
        /// Removes a domain without accounts and aliases.
        remove_domain(RemoveDomainRequest) -> RemoveDomainResponse, Unsubmitted;
        /// Adds an account.
        add_account(AddAccountRequest) -> AddAccountResponse, Always;
        /// What a credential shall cost.
        get_credential_cost(GetCredentialCostRequest) -> CredentialCost, Always;
        /// A page of accounts.
        list_accounts(ListAccountsRequest) -> ListAccountsResponse, Always;
        /// Removes an account with its mail.
        remove_account(RemoveAccountRequest) -> RemoveAccountResponse, Unsubmitted;
        /// Sets an account's credential.
        set_password(SetPasswordRequest) -> SetPasswordResponse, Always;
        /// Begins to move an account to another shard.
        move_account(MoveAccountRequest) -> MoveAccountResponse, Always;
        /// Calls a move off.
        call_off_account_move(CallOffAccountMoveRequest) -> CallOffAccountMoveResponse, Always;
        /// Accounts that move.
        list_account_moves(ListAccountMovesRequest) -> ListAccountMovesResponse, Always;
        /// Adds an alias, or sets the targets of one.
        add_alias(AddAliasRequest) -> AddAliasResponse, Always;
        /// All aliases.
        list_aliases(ListAliasesRequest) -> ListAliasesResponse, Always;
        /// Removes an alias.
        remove_alias(RemoveAliasRequest) -> RemoveAliasResponse, Unsubmitted;
        /// One letter.
        show_letter(ShowLetterRequest) -> ShowLetterResponse, Always;
        /// Makes deferred letters due now.
        retry_queue(RetryQueueRequest) -> RetryQueueResponse, Always;
        /// Lets letters leave that are held since a restore.
        release_queue(ReleaseQueueRequest) -> ReleaseQueueResponse, Always;
    }

    /// All letters that are not settled, in pages.
    pub async fn list_queue(
        &self,
        request: ListQueueRequest,
    ) -> Result<Items<ListQueueResponse>, CallError> {
        let (max, limit) = (self.channels.max_message(), self.limit);
        self.call(Repeat::Always, async |channel| {
            let mut stub = Stub::new(channel).max_decoding_message_size(max);
            let stream = stub.list_queue(request).await?.into_inner();
            Ok(Items::new(stream, limit))
        })
        .await
    }

    /// Makes a call until it is answered or the limit is over.
    async fn call<R>(
        &self,
        repeat: Repeat,
        attempt: impl AsyncFn(Channel) -> Result<R, tonic::Status>,
    ) -> Result<R, CallError> {
        let deadline = Instant::now() + self.limit;
        let mut backoff = Backoff::new();
        // What was once perhaps done stays so, whatever later attempts say of themselves.
        let mut lost = None;
        loop {
            let failed = match self.round(repeat, deadline, &attempt).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let error = match failed {
                Failed::Final(error) => return Err(error),
                Failed::Passing(error) => error,
            };
            if error.is_unknown() {
                lost = Some(error.clone());
            }
            let wait = backoff.wait(fastrand::f64());
            if Instant::now() + wait >= deadline {
                return Err(lost.unwrap_or(error));
            }
            sleep(wait).await;
        }
    }

    /// Asks each endpoint until one answers.
    async fn round<R>(
        &self,
        repeat: Repeat,
        deadline: Instant,
        attempt: &impl AsyncFn(Channel) -> Result<R, tonic::Status>,
    ) -> Result<R, Failed> {
        let mut down = CallError::Unavailable("no endpoint is given".to_owned());
        let mut passing = None;
        for endpoint in &self.endpoints {
            let channel = self.channels.get(endpoint);
            let channel =
                channel.map_err(|error| Failed::Final(CallError::invalid(error.to_string())))?;
            let verdict = match timeout_at(deadline, attempt(channel)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => judge(&status),
                Err(_) => Verdict::Lost("no answer in time".to_owned()),
            };
            match verdict {
                Verdict::Final(error) => return Err(Failed::Final(error)),
                Verdict::Lost(text) if repeat == Repeat::Unsubmitted => {
                    return Err(Failed::Final(CallError::Unknown(text)));
                }
                Verdict::Lost(text) => passing = Some(CallError::Unknown(text)),
                Verdict::Busy(fault) | Verdict::Moving(fault) => {
                    passing = passing.or(Some(fault.into()))
                }
                Verdict::NodeDown(text) => {
                    down = CallError::Unavailable(format!("{endpoint}: {text}"));
                }
                Verdict::Elsewhere(_) => {
                    let text = "a shard has no leader at the moment";
                    passing = passing.or(Some(CallError::Unavailable(text.to_owned())));
                }
            }
        }
        // Where no node is up, waiting does not help.
        Err(passing.map_or(Failed::Final(down), Failed::Passing))
    }
}

/// Why a round of all endpoints gave no answer.
enum Failed {
    /// The answer is no, or nobody is there.
    Final(CallError),
    /// It may work soon.
    Passing(CallError),
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use postino_config::GrpcConfig;
    use postino_proto::{Fault, FaultKind};
    use tonic::Status;

    use super::*;

    /// Makes a call whose attempts end like this, one after another; the last one again and again.
    async fn called(
        repeat: Repeat,
        attempts: &[Result<u8, Status>],
    ) -> (Result<u8, CallError>, usize) {
        let channels = Channels::new(GrpcConfig::default());
        let endpoints = vec!["http://127.0.0.1:1".to_owned()];
        let client = AdminClient::new(endpoints, channels, Duration::from_millis(500));
        let made = Mutex::new(0);
        let attempt = async |_: Channel| {
            let mut made = made.lock().expect("no panic");
            *made += 1;
            attempts[(*made - 1).min(attempts.len() - 1)].clone()
        };
        let outcome = client.call(repeat, attempt).await;
        (outcome, made.into_inner().expect("no panic"))
    }

    fn unknown() -> Status {
        Fault::new(FaultKind::Unknown, "under way").into()
    }

    fn no_leader() -> Status {
        Fault::not_leader(None).into()
    }

    #[tokio::test]
    async fn a_call_waits_for_a_leader() {
        let attempts = [Err(no_leader()), Err(no_leader()), Ok(7)];
        assert_eq!(called(Repeat::Unsubmitted, &attempts).await, (Ok(7), 3));
        let (outcome, made) = called(Repeat::Unsubmitted, &[Err(no_leader())]).await;
        assert!(
            matches!(outcome, Err(CallError::Unavailable(_))) && made > 2,
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn only_what_may_be_repeated_is_repeated_after_an_unknown_outcome() {
        let attempts = [Err(unknown()), Err(no_leader()), Ok(7)];
        assert_eq!(called(Repeat::Always, &attempts).await, (Ok(7), 3));
        let (outcome, made) = called(Repeat::Unsubmitted, &attempts).await;
        assert!(
            matches!(outcome, Err(CallError::Unknown(_))) && made == 1,
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn what_was_perhaps_done_is_not_called_undone() {
        let (outcome, _) = called(Repeat::Always, &[Err(unknown()), Err(no_leader())]).await;
        assert!(matches!(outcome, Err(CallError::Unknown(text)) if text == "under way"));
    }
}

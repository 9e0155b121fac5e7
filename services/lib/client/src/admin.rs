//! The client of the administration service, which every store node serves.

use std::time::Duration;

use postino_proto::admin::v1::admin_client::AdminClient as Stub;
use postino_proto::admin::v1::{
    AddAccountRequest, AddAccountResponse, AddAliasRequest, AddAliasResponse, AddDomainRequest,
    AddDomainResponse, ListAccountsRequest, ListAccountsResponse, ListAliasesRequest,
    ListAliasesResponse, ListDomainsRequest, ListDomainsResponse, ListQueueRequest,
    ListQueueResponse, RemoveAccountRequest, RemoveAccountResponse, RemoveAliasRequest,
    RemoveAliasResponse, RemoveDomainRequest, RemoveDomainResponse, RetryQueueRequest,
    RetryQueueResponse, SetPasswordRequest, SetPasswordResponse, ShowLetterRequest,
    ShowLetterResponse,
};
use tokio::time::timeout;
use tonic::Response;

use crate::retry::{Verdict, judge};
use crate::{CallError, Channel, Channels, Items};

/// Administration through any of some endpoints. Cheap to clone.
///
/// A call goes to the next endpoint only if the last one certainly did nothing.
#[derive(Clone)]
pub struct AdminClient {
    channels: Channels,
    endpoints: Vec<String>,
    limit: Duration,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $response:ty;)*) => {
        $(
            $(#[$doc])*
            pub async fn $name(&self, request: $request) -> Result<$response, CallError> {
                let max = self.channels.max_message();
                self.call(async |channel| {
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
        add_domain(AddDomainRequest) -> AddDomainResponse;
        /// All domains.
        list_domains(ListDomainsRequest) -> ListDomainsResponse;
        /// Removes a domain without accounts and aliases.
        remove_domain(RemoveDomainRequest) -> RemoveDomainResponse;
        /// Adds an account.
        add_account(AddAccountRequest) -> AddAccountResponse;
        /// A page of accounts.
        list_accounts(ListAccountsRequest) -> ListAccountsResponse;
        /// Removes an account with its mail.
        remove_account(RemoveAccountRequest) -> RemoveAccountResponse;
        /// Sets an account's credential.
        set_password(SetPasswordRequest) -> SetPasswordResponse;
        /// Adds an alias, or sets the targets of one.
        add_alias(AddAliasRequest) -> AddAliasResponse;
        /// All aliases.
        list_aliases(ListAliasesRequest) -> ListAliasesResponse;
        /// Removes an alias.
        remove_alias(RemoveAliasRequest) -> RemoveAliasResponse;
        /// One letter.
        show_letter(ShowLetterRequest) -> ShowLetterResponse;
        /// Makes deferred letters due now.
        retry_queue(RetryQueueRequest) -> RetryQueueResponse;
    }

    /// All letters that are not settled, in pages.
    pub async fn list_queue(
        &self,
        request: ListQueueRequest,
    ) -> Result<Items<ListQueueResponse>, CallError> {
        let (max, limit) = (self.channels.max_message(), self.limit);
        self.call(async |channel| {
            let mut stub = Stub::new(channel).max_decoding_message_size(max);
            let stream = stub.list_queue(request).await?.into_inner();
            Ok(Items::new(stream, limit))
        })
        .await
    }

    async fn call<R>(
        &self,
        attempt: impl AsyncFn(Channel) -> Result<R, tonic::Status>,
    ) -> Result<R, CallError> {
        let mut last = CallError::Unavailable("no endpoint is given".to_owned());
        for endpoint in &self.endpoints {
            let channel = match self.channels.get(endpoint) {
                Ok(channel) => channel,
                Err(error) => return Err(CallError::invalid(error.to_string())),
            };
            let verdict = match timeout(self.limit, attempt(channel)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => judge(&status),
                Err(_) => Verdict::Lost("no answer in time".to_owned()),
            };
            last = match verdict {
                Verdict::Final(error) => return Err(error),
                Verdict::Lost(text) => return Err(CallError::Unknown(text)),
                Verdict::Busy(fault) => fault.into(),
                Verdict::NodeDown(text) => CallError::Unavailable(format!("{endpoint}: {text}")),
                Verdict::Elsewhere(_) => {
                    CallError::Unavailable("a shard has no leader at the moment".to_owned())
                }
            };
        }
        Err(last)
    }
}

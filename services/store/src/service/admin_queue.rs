//! The queue for operators: letters of all shards, wherever those are led.

use futures::StreamExt;
use postino_client::Channel;
use postino_proto::admin::v1::ListQueueResponse;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::spool_client::SpoolClient;
use postino_proto::store::v1::spool_server::Spool;
use postino_proto::store::v1::{
    GetLetterRequest, Letter, ListLettersRequest, ReleaseRemoteCommand, RetryNowRequest,
};
use tonic::{Request, Status};

use super::pages::{self, End, Pages};
use super::{Context, convert, spool};
use crate::raft::Group;

fn mail_groups(context: &Context) -> Result<Vec<Group>, Status> {
    let node = context.shards.node()?;
    let groups = node.groups().into_iter();
    let mail = groups.filter(|group| !group.shard().is_control());
    Ok(mail.collect())
}

/// The spool of a shard that another node leads.
fn spool_of(context: &Context, group: &Group) -> Result<SpoolClient<Channel>, Status> {
    let max = context.shards.max_message();
    Ok(SpoolClient::new(context.shards.leader_channel(group)?)
        .max_decoding_message_size(max)
        .max_encoding_message_size(max))
}

/// Every letter, shard by shard.
pub(super) fn list(context: &Context) -> Result<Pages<ListQueueResponse>, Status> {
    let groups = mail_groups(context)?;
    let context = context.clone();
    Ok(pages::stream(move |pages| async move {
        for group in groups {
            if group.is_leader() {
                let mut letters = spool::all_letters(&context, group);
                while let Some(page) = letters.next().await {
                    pages.send(ListQueueResponse { letters: page? }).await?;
                }
                continue;
            }
            let mut client = spool_of(&context, &group)?;
            let mut after_queue_id = String::new();
            loop {
                let request = ListLettersRequest {
                    shard: group.shard().get(),
                    after_queue_id,
                    limit: 0,
                };
                let page = client
                    .list_letters(context.shards.onward(request))
                    .await?
                    .into_inner();
                let last = page.letters.last().map(|last| last.queue_id.clone());
                pages
                    .send(ListQueueResponse {
                        letters: page.letters,
                    })
                    .await?;
                match last {
                    Some(last) if page.more => after_queue_id = last,
                    _ => break,
                }
            }
        }
        Ok::<(), End>(())
    }))
}

/// One letter.
pub(super) async fn show(context: &Context, queue_id: String) -> Result<Letter, Status> {
    let id = convert::queue_id(&queue_id)?;
    let group = context.shards.group(id.shard())?;
    let request = GetLetterRequest { queue_id };
    let letter = match group.is_leader() {
        true => context.get_letter(Request::new(request)).await?,
        false => {
            let request = context.shards.onward(request);
            spool_of(context, &group)?.get_letter(request).await?
        }
    };
    Ok(letter.into_inner())
}

/// Makes one letter due now, or all.
pub(super) async fn retry(context: &Context, queue_id: String) -> Result<u64, Status> {
    let groups = match queue_id.is_empty() {
        true => mail_groups(context)?,
        false => vec![
            context
                .shards
                .group(convert::queue_id(&queue_id)?.shard())?,
        ],
    };
    let mut letters = 0;
    for group in groups {
        let request = RetryNowRequest {
            shard: group.shard().get(),
            queue_id: queue_id.clone(),
        };
        let response = match group.is_leader() {
            true => context.retry_now(Request::new(request)).await?,
            false => {
                let request = context.shards.onward(request);
                spool_of(context, &group)?.retry_now(request).await?
            }
        };
        letters += response.into_inner().letters;
    }
    Ok(letters)
}

/// Lets what is held since a restore leave for other servers, and has the queue try all letters.
pub(super) async fn release(context: &Context) -> Result<u64, Status> {
    for group in mail_groups(context)? {
        let release = Kind::ReleaseRemote(ReleaseRemoteCommand {});
        let shard = group.shard();
        context.shards.propose_anywhere(shard, release).await?;
    }
    retry(context, String::new()).await
}

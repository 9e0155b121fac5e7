//! Letters handed over: small ones again and again, large ones once.

use bytes::Bytes;
use futures::StreamExt;
use postino_client::{BodyStream, CallError, StoreClient, UploadError};
use postino_proto::store::v1::{AcceptFinish, AcceptResponse, DeliverBegin};
use postino_proto::{Fault, FaultKind};
use tonic::Status;

use crate::support::{Act, Node, chunks, client, queue_id};

async fn accept(client: &StoreClient, size: usize) -> Result<AcceptResponse, UploadError> {
    let mut upload = client.accept(queue_id(), 0);
    for chunk in chunks(size) {
        upload.chunk(chunk).await?;
    }
    upload.finish(AcceptFinish::default()).await
}

fn octets(size: usize) -> Vec<u8> {
    chunks(size).concat()
}

#[tokio::test]
async fn a_small_letter_follows_the_leader() {
    let (old, new) = (Node::default(), Node::default());
    let (old_at, new_at) = (old.start().await, new.start().await);
    let lost = Status::from(Fault::new(FaultKind::Unknown, "lost"));
    old.script(
        "accept",
        vec![Act::Refuse(Fault::not_leader(Some(new_at)).into()); 100],
    );
    new.script("accept", [Act::ReadThenRefuse(lost), Act::Hang]);
    let response = accept(&client(&[&old_at]), 3000).await.expect("accepted");
    assert_eq!((response.filed, response.log_index), (true, 7));
    let uploads: Vec<_> = [old.uploads(), new.uploads()].concat();
    // Read by the one that lost it, the one that hung, and the one that answered.
    let sizes: Vec<_> = uploads
        .iter()
        .map(|(read, finished)| (read.len(), *finished))
        .collect();
    assert!(
        sizes.len() >= 3 && sizes.iter().all(|size| *size == (3000, true)),
        "{sizes:?}"
    );
    assert!(uploads.iter().all(|(read, _)| *read == octets(3000)));
}

#[tokio::test]
async fn a_large_letter_is_streamed_whole() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    assert!(accept(&client, 300_000).await.expect("accepted").filed);
    assert!(node.uploads() == [(octets(300_000), true)]);
}

#[tokio::test]
async fn a_large_letter_is_streamed_to_the_leader_only() {
    let (old, new) = (Node::default(), Node::default());
    let (old_at, new_at) = (old.start().await, new.start().await);
    old.script(
        "get_letter",
        [Act::Refuse(Fault::not_leader(Some(new_at)).into())],
    );
    accept(&client(&[&old_at]), 300_000)
        .await
        .expect("accepted");
    assert_eq!((old.count("accept"), new.count("accept")), (0, 1));
}

#[tokio::test]
async fn a_large_letter_that_nobody_takes_is_certainly_not_accepted() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    node.script("accept", [Act::Refuse(Fault::not_leader(None).into())]);
    let error = accept(&client, 3_000_000).await.expect_err("no leader");
    assert!(matches!(error, UploadError::NotAccepted(_)), "{error:?}");
    node.script(
        "accept",
        [Act::ReadThenRefuse(
            Fault::new(FaultKind::TooBig, "big").into(),
        )],
    );
    let error = accept(&client, 300_000).await.expect_err("too big");
    let UploadError::NotAccepted(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.fault(), Some(FaultKind::TooBig));
}

#[tokio::test]
async fn a_lost_answer_to_a_large_letter_is_looked_up() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    let lost = || Act::ReadThenRefuse(Fault::new(FaultKind::Unknown, "lost").into());
    node.script("accept", [lost(), lost()]);
    node.has_accepted(true);
    // Asked until somebody answers.
    let busy = || Act::Refuse(Fault::not_leader(None).into());
    node.script("resolve_accept", [busy(), busy()]);
    accept(&client, 300_000).await.expect("it was accepted");
    // What was not accepted never will be, so that it may go elsewhere.
    node.has_accepted(false);
    let error = accept(&client, 300_000).await.expect_err("given up");
    assert!(matches!(error, UploadError::NotAccepted(_)), "{error:?}");
}

#[tokio::test]
async fn a_dropped_upload_sends_no_finish() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    let mut upload = client.accept(queue_id(), 0);
    for chunk in chunks(100_000) {
        upload.chunk(chunk).await.expect("taken");
    }
    drop(upload);
    // A second letter on the same connection is behind the first one's end.
    accept(&client, 300_000).await.expect("accepted");
    assert!(
        !node
            .uploads()
            .iter()
            .any(|(octets, finished)| *finished && octets.len() == 100_000)
    );
}

#[tokio::test]
async fn a_delivery_opens_its_body_again() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    node.script(
        "deliver",
        [Act::ReadThenRefuse(Status::unavailable("gone"))],
    );
    let begin = DeliverBegin {
        shard: 1,
        ..DeliverBegin::default()
    };
    client
        .deliver(begin, client.letter_body(queue_id()))
        .await
        .expect("filed");
    assert_eq!(node.uploads(), vec![(b"one two".to_vec(), true); 2]);
}

#[tokio::test]
async fn a_body_that_breaks_off_files_nothing() {
    let node = Node::default();
    let client = client(&[&node.start().await]);
    let begin = DeliverBegin {
        shard: 1,
        ..DeliverBegin::default()
    };
    let broken = || -> BodyStream {
        let error = Err(CallError::Unavailable("the spool is gone".to_owned()));
        futures::stream::iter([Ok(Bytes::from_static(b"half")), error]).boxed()
    };
    let error = client
        .deliver(begin, broken)
        .await
        .expect_err("half a letter");
    assert_eq!(
        error,
        CallError::Unavailable("the spool is gone".to_owned())
    );
    assert_eq!(node.uploads(), [(b"half".to_vec(), false)]);
}

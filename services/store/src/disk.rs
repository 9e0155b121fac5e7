//! What a node does about its disk: it looks how much room there is, and gives leads up while there
//! is too little.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::db::{Room, RoomWatch};
use crate::raft::RaftNode;

/// How often the disk is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How often a full node tries to give its leads up, and how long that may take.
const GIVE_UP: Duration = Duration::from_secs(5);

/// Watches the disk until the node stops.
pub(crate) async fn watch(
    mut disk: RoomWatch,
    nodes: watch::Receiver<Option<RaftNode>>,
    stop: CancellationToken,
) {
    let giving_up = tokio::spawn(give_up_leads(disk.room(), nodes));
    while !stop.is_cancelled() {
        let looked = tokio::task::spawn_blocking(move || {
            let room = disk.look();
            (disk, room)
        });
        let Ok((back, room)) = looked.await else {
            break;
        };
        disk = back;
        if let Err(error) = room {
            tracing::error!(%error, "nobody knows how much room the disk has");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    giving_up.abort();
}

/// While there is too little room, others should lead: only they can take anything new.
async fn give_up_leads(mut room: watch::Receiver<Room>, nodes: watch::Receiver<Option<RaftNode>>) {
    while room.wait_for(|room| !room.is_ample()).await.is_ok() {
        let node = nodes.borrow().clone();
        if let Some(node) = node {
            node.transfer_leaderships(GIVE_UP).await;
        }
        tokio::time::sleep(GIVE_UP).await;
    }
}

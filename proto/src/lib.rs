//! The gRPC of Postino's services: generated messages, clients and servers, the conversions
//! between them and the domain types, and the faults that calls fail with.
//!
//! The `.proto` files below `proto/postino/` are the documentation of each call.

pub mod convert;
mod email;
pub mod fault;

pub use fault::{Fault, FaultKind};

macro_rules! generated {
    ($($(#[$doc:meta])* $name:ident = $package:literal;)*) => {
        $(
            $(#[$doc])*
            pub mod $name {
                /// Version 1.
                #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
                pub mod v1 {
                    tonic::include_proto!($package);
                }
            }
        )*
    };
}

generated! {
    /// The letter.
    mail = "postino.mail.v1";
    /// The replicated store: spool, directory, mailboxes.
    store = "postino.store.v1";
    /// Routing.
    routing = "postino.routing.v1";
    /// The delivery queue.
    queue = "postino.queue.v1";
    /// Administration.
    admin = "postino.admin.v1";
    /// Forming and watching a cluster.
    cluster = "postino.cluster.v1";
    /// Raft between store nodes.
    raft = "postino.raft.v1";
}

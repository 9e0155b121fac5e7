//! Typed clients of our own services.
//!
//! [`Channels`] connects to endpoints over TCP or, in the all-in-one, within the process; the stubs
//! are the same. [`StoreClient`] knows the shards and their leaders, follows them, and repeats
//! exactly those calls that may be repeated. [`RoutingClient`], [`QueueClient`] and [`AdminClient`]
//! are the other services; [`DirectoryCache`] remembers what the directory said for a moment, and
//! [`credential`] makes and checks credentials.

mod admin;
mod channel;
pub mod credential;
mod directory;
mod error;
mod items;
mod queue;
mod retry;
mod routing;
mod store;
mod topology;
mod upload;

pub use admin::AdminClient;
pub use channel::{Channel, Channels, EndpointError, InProcessListener};
pub use directory::DirectoryCache;
pub use error::CallError;
pub use items::Items;
pub use queue::QueueClient;
pub use routing::{RoutingClient, RoutingClientConfig};
pub use store::{BodyStream, StoreClient, StoreClientConfig};
pub use upload::{AcceptError, AcceptUpload, AppendUpload, UploadError};

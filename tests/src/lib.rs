//! End-to-end tests: real processes of the built binary, real servers and clients around them.
//!
//! [`Postino`] is everything in one process (`postino dev`), [`Cluster`] is one process a role as
//! `deploy/cluster.sh` starts them. Both listen on ports that the system chose, and leave no
//! process behind. [`smtp`] and [`imap`] are small clients that show every octet; [`load`] drives
//! any server and can prove afterwards what became of each letter.

pub mod certificate;
pub mod cluster;
pub mod dns;
pub mod faults;
pub mod figures;
pub mod imap;
pub mod jail;
pub mod letter;
pub mod load;
pub mod mta;
pub mod otlp;
pub mod postfix;
pub mod process;
pub mod program;
pub mod replicas;
pub mod single;
pub mod smtp;
pub mod status;
pub mod wait;

pub use cluster::Cluster;
pub use single::Postino;

/// The domain of the demo accounts.
pub const DOMAIN: &str = "example.org";
/// The first demo account.
pub const ALICE: &str = "alice@example.org";
/// The second demo account.
pub const BOB: &str = "bob@example.org";
/// The password of both.
pub const PASSWORD: &str = "postino-dev";

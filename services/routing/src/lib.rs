//! Routing: who is local, and where a domain's mail goes.

pub mod expansion;
pub mod plan;
pub mod records;
pub mod site;
pub mod transport;

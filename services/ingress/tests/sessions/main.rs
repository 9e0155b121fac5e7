//! SMTP sessions over real sockets, with scripted store and routing behind real gRPC.

mod acceptance;
mod submission;
mod support;

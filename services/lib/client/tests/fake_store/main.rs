//! The clients against scripted store nodes.

mod leader;
mod login;
mod support;
mod upload;

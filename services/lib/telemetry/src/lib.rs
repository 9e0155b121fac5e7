//! Logs, traces and metrics of all services.
//!
//! Spans are made with `tracing`, under the names and keys of [`span`]; [`init`] prints logs and,
//! where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, exports the spans of each role under its own
//! `service.name`, also when several roles share the process. [`propagate`] carries a trace
//! through gRPC calls and through records on disk. [`Registry`] holds the metrics.

mod export;
mod grpc;
mod init;
mod metrics;
pub mod propagate;
mod role;
pub mod span;

pub use grpc::{ServerTrace, ServerTraceLayer};
pub use init::{Guard, InitError, LogFormat, TelemetryConfig, init};
pub use metrics::{Registry, metric};
pub use role::{Role, current_role, in_current_role, role};

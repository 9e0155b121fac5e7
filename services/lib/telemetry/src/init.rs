//! Starting logs and traces of a process.

use std::io::IsTerminal;

use postino_config::{Duration, SettingError};
use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::export::Exporters;
use crate::role::{Role, RoleLayer};

/// The environment variable that switches the export of spans on.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line of text per event.
    #[default]
    Text,
    /// A JSON object per event.
    Json,
}

/// Section `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What is logged, as `tracing` directives: "info", "info,postino_queue=debug".
    pub log: String,
    /// "text" or "json"; logs go to standard error.
    pub format: LogFormat,
    /// Where spans are exported to by OTLP over gRPC, http://HOST:PORT. Empty: the environment
    /// variable OTEL_EXPORTER_OTLP_ENDPOINT; if that is not set either, nothing is exported.
    pub otlp_endpoint: String,
    /// The share of new traces that is exported, 0 to 1; a trace begun elsewhere keeps its choice.
    pub sampling: f64,
    /// Spans of one role that wait for export at most; more are dropped.
    pub export_queue: usize,
    /// How long a span waits for company before it is exported.
    pub export_interval: Duration,
    /// How long one export may take.
    pub export_timeout: Duration,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "info,openraft=error".to_owned(),
            format: LogFormat::Text,
            otlp_endpoint: String::new(),
            sampling: 1.0,
            export_queue: 8192,
            export_interval: Duration::secs(1),
            export_timeout: Duration::secs(5),
        }
    }
}

impl TelemetryConfig {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), InitError> {
        let zero = Duration::default();
        let rules = [
            (
                (0.0..=1.0).contains(&self.sampling),
                "sampling must be between 0 and 1",
            ),
            (self.export_queue > 0, "export_queue must not be 0"),
            (self.export_interval > zero, "export_interval must not be 0"),
            (self.export_timeout > zero, "export_timeout must not be 0"),
        ];
        postino_config::check("telemetry", &rules)?;
        EnvFilter::try_new(&self.log)?;
        Ok(())
    }
}

/// Why logs and traces cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A setting cannot work.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// `telemetry.log` is not readable.
    #[error("telemetry.log: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter cannot be made.
    #[error("OTLP endpoint {endpoint:?}: {error}")]
    Export {
        /// The endpoint.
        endpoint: String,
        /// Why.
        error: String,
    },
    /// Logs were started before in this process.
    #[error("logs were started before: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps logs and traces going.
#[derive(Debug)]
#[must_use = "spans are lost unless the guard is shut down"]
pub struct Guard {
    exporters: Option<Exporters>,
}

impl Guard {
    /// Exports what is still queued.
    pub async fn shutdown(self) {
        if let Some(exporters) = self.exporters {
            // The exporters block, and need the runtime to go on meanwhile.
            let _ = tokio::task::spawn_blocking(|| exporters.shutdown()).await;
        }
    }

    /// Whether spans are exported.
    pub fn exports(&self) -> bool {
        self.exporters.is_some()
    }
}

/// Starts logs and traces for the roles of this process; to be called once, within tokio.
/// Spans that belong to no role are exported under the first one.
pub fn init(roles: &[Role], config: &TelemetryConfig) -> Result<Guard, InitError> {
    let exporters = exporters(roles, config)?;
    let spans = exporters.as_ref().map(|exporters| {
        tracing_opentelemetry::layer()
            .with_tracer(exporters.tracer())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(exported())
    });
    let roles = exporters.is_some().then_some(RoleLayer);
    tracing_subscriber::registry()
        .with(roles)
        .with(spans)
        .with(logs(config)?)
        .try_init()?;
    Ok(Guard { exporters })
}

fn exporters(roles: &[Role], config: &TelemetryConfig) -> Result<Option<Exporters>, InitError> {
    let endpoint = match config.otlp_endpoint.is_empty() {
        true => std::env::var(ENDPOINT).unwrap_or_default(),
        false => config.otlp_endpoint.clone(),
    };
    if endpoint.is_empty() || roles.is_empty() {
        return Ok(None);
    }
    match Exporters::new(&endpoint, roles, config) {
        Ok(exporters) => Ok(Some(exporters)),
        Err(error) => Err(InitError::Export {
            endpoint,
            error: error.to_string(),
        }),
    }
}

/// Our own spans, and our warnings as events in them. Other crates' spans stay out: those of the
/// exporter's own connection would export themselves without end.
fn exported() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| {
        let level = match metadata.is_span() {
            true => Level::INFO,
            false => Level::WARN,
        };
        metadata.target().starts_with("postino") && *metadata.level() <= level
    })
}

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn logs<S>(config: &TelemetryConfig) -> Result<BoxedLayer<S>, InitError>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = EnvFilter::try_new(&config.log)?;
    let stderr = || fmt::layer().with_writer(std::io::stderr);
    Ok(match config.format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            stderr().with_ansi(colours).with_filter(filter).boxed()
        }
        LogFormat::Json => stderr().json().with_filter(filter).boxed(),
    })
}

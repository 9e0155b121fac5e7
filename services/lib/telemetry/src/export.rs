//! Exporting spans over OTLP, each role under its own `service.name`.

use std::borrow::Cow;

use opentelemetry::trace::{SpanBuilder, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span,
};

use crate::TelemetryConfig;
use crate::role::{self, Role};

/// How a new span's role travels from `span_builder` to `build_with_context`.
const ROLE: &str = "postino.role";

/// A tracer per role; each span goes to the tracer of its role.
#[derive(Debug, Clone)]
pub(crate) struct RoleTracer {
    /// At least one; the first takes spans without a role.
    tracers: Vec<(Role, SdkTracer)>,
}

impl RoleTracer {
    fn of(&self, role: Option<&Value>) -> &SdkTracer {
        let named = |value: &Value| {
            self.tracers
                .iter()
                .find(|(role, _)| value.as_str() == role.as_str())
        };
        let (_, tracer) = role.and_then(named).unwrap_or(&self.tracers[0]);
        tracer
    }
}

impl Tracer for RoleTracer {
    type Span = Span;

    fn span_builder<T: Into<Cow<'static, str>>>(&self, name: T) -> SpanBuilder {
        let builder = SpanBuilder::from_name(name);
        match role::of_new_span() {
            Some(role) => builder.with_attributes([KeyValue::new(ROLE, role.as_str())]),
            None => builder,
        }
    }

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> Span {
        let attributes = builder.attributes.as_deref().unwrap_or_default();
        let role = attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == ROLE);
        self.of(role.map(|attribute| &attribute.value))
            .build_with_context(builder, parent)
    }
}

/// The exporters of a process.
#[derive(Debug, Clone)]
pub(crate) struct Exporters {
    providers: Vec<(Role, SdkTracerProvider)>,
}

impl Exporters {
    /// Exporters to an endpoint, one per role. Must be called within tokio, which carries the
    /// connections.
    pub(crate) fn new(
        endpoint: &str,
        roles: &[Role],
        config: &TelemetryConfig,
    ) -> Result<Self, ExporterBuildError> {
        let provider = |role: &Role| Ok((*role, provider(endpoint, *role, config)?));
        let providers = roles
            .iter()
            .map(provider)
            .collect::<Result<_, ExporterBuildError>>()?;
        Ok(Self { providers })
    }

    pub(crate) fn tracer(&self) -> RoleTracer {
        let tracer =
            |(role, provider): &(Role, SdkTracerProvider)| (*role, provider.tracer("postino"));
        RoleTracer {
            tracers: self.providers.iter().map(tracer).collect(),
        }
    }

    /// Sends what is queued and stops. Blocks.
    pub(crate) fn shutdown(self) {
        for (role, provider) in self.providers {
            if let Err(error) = provider.shutdown() {
                tracing::warn!(%role, %error, "spans were lost at shutdown");
            }
        }
    }
}

fn provider(
    endpoint: &str,
    role: Role,
    config: &TelemetryConfig,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(config.export_timeout.get())
        .build()?;
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(config.export_queue)
        .with_max_export_batch_size(config.export_queue.min(512))
        .with_scheduled_delay(config.export_interval.get())
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sampling)));
    Ok(SdkTracerProvider::builder()
        .with_resource(
            Resource::builder()
                .with_service_name(role.service_name())
                .build(),
        )
        .with_sampler(sampler)
        .with_span_processor(
            BatchSpanProcessor::builder(exporter)
                .with_batch_config(batch)
                .build(),
        )
        .build())
}

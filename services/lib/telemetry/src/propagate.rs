//! Carrying a trace across processes and across time (W3C Trace Context).

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{AsciiMetadataKey, KeyRef, MetadataMap};
use tonic::{Request, Status};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// A span of another process, or of a letter's earlier life.
#[derive(Debug, Clone, Default)]
pub struct RemoteSpan(opentelemetry::Context);

impl RemoteSpan {
    /// Whether there is such a span at all.
    pub fn is_valid(&self) -> bool {
        self.0.span().span_context().is_valid()
    }

    /// Makes `span` its child. To be called before the span is entered or has children.
    pub fn adopt(&self, span: &Span) {
        if self.is_valid() {
            // Fails only if the span has started, or nothing is exported.
            let _ = span.set_parent(self.0.clone());
        }
    }

    /// Links `span` to it, without making it a child.
    pub fn link(&self, span: &Span) {
        span.add_link(self.0.span().span_context().clone());
    }

    /// Its trace id in hexadecimal, for logs; `None` if there is no such span.
    pub fn trace_id(&self) -> Option<String> {
        self.is_valid()
            .then(|| self.0.span().span_context().trace_id().to_string())
    }
}

/// Puts the current span's context into the metadata of a call.
pub fn inject_grpc(metadata: &mut MetadataMap) {
    let context = Span::current().context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut IntoMetadata(metadata));
    }
}

/// Reads the caller's span out of the metadata of a call.
pub fn extract_grpc(metadata: &MetadataMap) -> RemoteSpan {
    match metadata.contains_key(TRACEPARENT) {
        true => RemoteSpan(
            TraceContextPropagator::new()
                .extract_with_context(&opentelemetry::Context::new(), &FromMetadata(metadata)),
        ),
        false => RemoteSpan::default(),
    }
}

/// The current span as `(traceparent, tracestate)`, to be stored; both empty if there is none.
pub fn to_record() -> (String, String) {
    span_to_record(&Span::current())
}

/// A span as `(traceparent, tracestate)`, to be stored; both empty if it is not traced.
pub fn span_to_record(span: &Span) -> (String, String) {
    let mut pair = Pair::default();
    let context = span.context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut pair);
    }
    (pair.traceparent, pair.tracestate)
}

/// The span that was stored with [`to_record`]. What is unreadable is no span.
pub fn from_record(traceparent: &str, tracestate: &str) -> RemoteSpan {
    let pair = Pair {
        traceparent: traceparent.to_owned(),
        tracestate: tracestate.to_owned(),
    };
    RemoteSpan(
        TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &pair),
    )
}

/// A tonic interceptor: each call of a client carries the span it is made in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inject;

impl tonic::service::Interceptor for Inject {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        inject_grpc(request.metadata_mut());
        Ok(request)
    }
}

struct IntoMetadata<'a>(&'a mut MetadataMap);

impl Injector for IntoMetadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        let key = AsciiMetadataKey::from_bytes(key.as_bytes());
        if let (Ok(key), Ok(value)) = (key, value.parse()) {
            self.0.insert(key, value);
        }
    }
}

struct FromMetadata<'a>(&'a MetadataMap);

impl Extractor for FromMetadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        let names = self.0.keys().map(|key| match key {
            KeyRef::Ascii(key) => key.as_str(),
            KeyRef::Binary(key) => key.as_str(),
        });
        names.collect()
    }
}

#[derive(Default)]
struct Pair {
    traceparent: String,
    tracestate: String,
}

impl Injector for Pair {
    fn set(&mut self, key: &str, value: String) {
        match key {
            TRACEPARENT => self.traceparent = value,
            TRACESTATE => self.tracestate = value,
            _ => {}
        }
    }
}

impl Extractor for Pair {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(&self.traceparent),
            TRACESTATE => Some(&self.tracestate),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_stored_span_is_read_back_and_garbage_is_none() {
        let remote = from_record(PARENT, "k=v");
        assert_eq!(
            remote.trace_id().as_deref(),
            Some("0af7651916cd43dd8448eb211c80319c")
        );
        for bad in [
            "",
            "00",
            "00-0-0-0",
            "zz-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(!from_record(bad, "").is_valid(), "{bad:?}");
        }
    }

    #[test]
    fn metadata_without_a_trace_is_no_span() {
        let mut metadata = MetadataMap::new();
        assert!(!extract_grpc(&metadata).is_valid());
        metadata.insert(TRACEPARENT, PARENT.parse().expect("ascii"));
        assert!(extract_grpc(&metadata).is_valid());
    }

    #[test]
    fn without_an_exporter_nothing_is_injected() {
        let mut metadata = MetadataMap::new();
        inject_grpc(&mut metadata);
        assert!(metadata.is_empty());
        assert_eq!(to_record(), (String::new(), String::new()));
    }
}

//! An OTLP receiver: what a Jaeger would be sent.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use postino_telemetry::span;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A span as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The exporter's `service.name`.
    pub service: String,
    /// The span's name.
    pub name: String,
    /// 16 octets.
    pub trace: Vec<u8>,
    /// 8 octets.
    pub id: Vec<u8>,
    /// 8 octets, or none for a root.
    pub parent: Vec<u8>,
    /// Traces that it links to.
    pub links: Vec<Vec<u8>>,
    /// Its attributes that are text.
    pub attributes: Vec<(String, String)>,
    /// The keys of all its attributes.
    pub keys: Vec<String>,
}

#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock().expect("no panic while it was held");
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let service = text(&attributes, "service.name").unwrap_or_default();
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    links: span.links.into_iter().map(|link| link.trace_id).collect(),
                    attributes: texts(&span.attributes),
                    keys: span.attributes.into_iter().map(|a| a.key).collect(),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let pair = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some((attribute.key.clone(), text.clone())),
        _ => None,
    };
    attributes.iter().filter_map(pair).collect()
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    texts(attributes)
        .into_iter()
        .find(|pair| pair.0 == key)
        .map(|pair| pair.1)
}

/// A running receiver.
pub struct Receiver {
    received: Received,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let received = Received::default();
        let service = TraceServiceServer::new(received.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        let server = tokio::spawn(async move {
            // Ends with the task; an error would show as spans that never come.
            let _ = server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await;
        });
        Ok(Self {
            received,
            address,
            server,
        })
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.received
            .0
            .lock()
            .expect("no panic while it was held")
            .clone()
    }

    /// The trace of the letter with this queue-id, if a span has named it yet.
    pub fn trace_of(&self, queue_id: &str) -> Option<Vec<u8>> {
        let names_it = |span: &Span| span.attributes.iter().any(|pair| pair.1 == queue_id);
        self.spans()
            .into_iter()
            .find(names_it)
            .map(|span| span.trace)
    }

    /// Names of spans and keys of attributes that are not in the telemetry crate's list.
    pub fn unlisted(&self) -> BTreeSet<String> {
        let spans = self.spans().into_iter();
        spans
            .flat_map(|s| {
                let name = Some(s.name).filter(|name| !span::is_name(name));
                let keys = s.keys.into_iter().filter(|key| !span::is_key(key));
                name.into_iter().chain(keys)
            })
            .collect()
    }

    /// The services that have a span in a trace.
    pub fn services_in(&self, trace: &[u8]) -> BTreeSet<String> {
        let spans = self.spans().into_iter();
        spans
            .filter(|span| span.trace == trace)
            .map(|span| span.service)
            .collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

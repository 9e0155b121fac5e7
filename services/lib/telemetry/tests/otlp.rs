//! Spans of several roles in one process, as an OTLP receiver sees them. One test, since logs and
//! traces start once per process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use postino_telemetry::{Role, TelemetryConfig, init, propagate, role};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::{Instrument, info_span};

#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let service = attributes.into_iter().find(|a| a.key == "service.name");
            let service = match service.and_then(|a| a.value).and_then(|v| v.value) {
                Some(Value::StringValue(service)) => service,
                other => panic!("service.name is {other:?}"),
            };
            let spans = resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            let mut seen = self.0.lock().expect("no panic");
            seen.extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn receiver() -> (Receiver, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bound");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let receiver = Receiver::default();
    let service = TraceServiceServer::new(receiver.clone());
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (receiver, endpoint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_letter_is_one_trace_under_every_roles_own_name() {
    let (receiver, endpoint) = receiver().await;
    let config = TelemetryConfig {
        otlp_endpoint: endpoint,
        export_interval: postino_config::Duration::millis(20),
        ..TelemetryConfig::default()
    };
    let guard = init(&[Role::Store, Role::Queue, Role::Ingress], &config).expect("started");
    assert!(guard.exports());

    // A span of ingress's own code, with a child made by a shared library in the same task.
    let transaction = info_span!(target: "postino_ingress::session", "smtp.transaction");
    let mut metadata = MetadataMap::new();
    let record = async {
        async { propagate::inject_grpc(&mut metadata) }
            .instrument(info_span!(target: "postino_client", "send mail.queue"))
            .await;
        propagate::to_record()
    };
    let (traceparent, tracestate) = record.instrument(transaction.clone()).await;
    assert_eq!(propagate::span_to_record(&transaction).0, traceparent);
    drop(transaction);

    // The store gets the context by metadata; its shared code knows the role from the task.
    role(Role::Store, async {
        let commit = info_span!(target: "postino_net", "raft.commit");
        propagate::extract_grpc(&metadata).adopt(&commit);
        commit.in_scope(|| {});
    })
    .await;

    // The queue gets it from the record, first as parent, later as link.
    let remote = propagate::from_record(&traceparent, &tracestate);
    let first =
        info_span!(target: "postino_queue::attempt", "process mail.queue", otel.kind = "consumer");
    remote.adopt(&first);
    first.in_scope(|| {});
    let later = info_span!(target: "postino_queue::attempt", "create mail.dsn");
    remote.link(&later);
    later.in_scope(|| {});
    drop((first, later));

    // Neither other crates' spans nor debug spans are exported; what has no role goes somewhere.
    info_span!(target: "hyper::client", "noise").in_scope(|| {});
    tracing::debug_span!(target: "postino_queue", "detail").in_scope(|| {});
    info_span!(target: "postino_net", "unowned").in_scope(|| {});

    tokio::time::timeout(Duration::from_secs(20), guard.shutdown())
        .await
        .expect("flushed");
    let seen = receiver.0.lock().expect("no panic").clone();
    let spans: BTreeMap<_, _> = seen
        .iter()
        .map(|(service, span)| (span.name.as_str(), (service.as_str(), span)))
        .collect();
    let services: Vec<_> = spans
        .iter()
        .map(|(name, (service, _))| (*name, *service))
        .collect();
    assert_eq!(
        services,
        [
            ("create mail.dsn", "postino-queue"),
            ("process mail.queue", "postino-queue"),
            ("raft.commit", "postino-store"),
            ("send mail.queue", "postino-ingress"),
            ("smtp.transaction", "postino-ingress"),
            ("unowned", "postino-store"),
        ]
    );
    let span = |name: &str| spans[name].1;
    let root = span("smtp.transaction");
    for (child, parent) in [
        ("send mail.queue", "smtp.transaction"),
        ("raft.commit", "send mail.queue"),
        ("process mail.queue", "smtp.transaction"),
    ] {
        assert_eq!(span(child).parent_span_id, span(parent).span_id, "{child}");
        assert_eq!(span(child).trace_id, root.trace_id, "{child}");
    }
    let dsn = span("create mail.dsn");
    assert_ne!(dsn.trace_id, root.trace_id);
    assert_eq!(dsn.links.len(), 1);
    assert_eq!(dsn.links[0].trace_id, root.trace_id);
}

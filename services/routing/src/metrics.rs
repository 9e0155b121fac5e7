//! What routing counts.

use postino_telemetry::metric::{Counter, EncodeLabelSet, Family};
use postino_telemetry::{Registry, Role};
use postino_types::Reply;

use crate::expansion::Step;
use crate::plan::Planned;

/// How a question was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Counters of routing.
#[derive(Debug, Clone)]
pub struct Metrics {
    resolves: Family<Outcome, Counter>,
    plans: Family<Outcome, Counter>,
}

impl Metrics {
    /// Adds the counters to a registry.
    pub fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.register(Role::Routing, name, help, Family::default());
        Self {
            resolves: counter("resolves", "Recipients resolved"),
            plans: counter("plans", "Plans made for domains"),
        }
    }

    pub(crate) fn resolved(&self, step: &Step) {
        let outcome = match step {
            Step::Targets(_) => "accepted",
            Step::Refused(reply) => failure(reply),
            Step::Lookup(_) => "error",
        };
        self.resolves.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn planned(&self, plan: &Result<Planned, Reply>) {
        let outcome = plan.as_ref().map_or_else(failure, |_| "hosts");
        self.plans.get_or_create(&Outcome { outcome }).inc();
    }
}

fn failure(reply: &Reply) -> &'static str {
    match reply.code() {
        500.. => "permanent_failure",
        _ => "temporary_failure",
    }
}

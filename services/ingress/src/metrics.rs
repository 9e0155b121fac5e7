//! What ingress counts.

use postino_telemetry::metric::{Counter, EncodeLabelSet, Family, Gauge};
use postino_telemetry::{Registry, Role};
use postino_types::Reply;

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Counters of ingress.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Sessions that are open.
    pub(crate) sessions: Gauge,
    /// Octets of letters that were taken.
    pub(crate) accepted_octets: Counter,
    letters: Family<Outcome, Counter>,
    recipients: Family<Outcome, Counter>,
    logins: Family<Outcome, Counter>,
}

impl Metrics {
    /// Adds the counters to a registry.
    pub(crate) fn new(registry: &Registry) -> Self {
        let family = |name, help| registry.register(Role::Ingress, name, help, Family::default());
        Self {
            sessions: registry.register(
                Role::Ingress,
                "sessions",
                "Open sessions",
                Gauge::default(),
            ),
            accepted_octets: registry.register(
                Role::Ingress,
                "accepted_octets",
                "Octets of letters that were taken",
                Counter::default(),
            ),
            letters: family("letters", "Letters by what became of them"),
            recipients: family("recipients", "RCPT commands by what became of them"),
            logins: family("logins", "Log-ins by what became of them"),
        }
    }

    /// A letter was taken.
    pub(crate) fn letter_accepted(&self, octets: u64) {
        self.accepted_octets.inc_by(octets);
        count(&self.letters, "accepted");
    }

    /// A letter was refused, after its sender was accepted.
    pub(crate) fn letter_refused(&self, reply: &Reply) {
        count(&self.letters, failure(reply));
    }

    /// A letter broke a limit or a rule of the data phase.
    pub(crate) fn letter_faulty(&self) {
        count(&self.letters, "permanent_failure");
    }

    pub(crate) fn recipient(&self, refusal: Option<&Reply>) {
        count(&self.recipients, refusal.map_or("accepted", failure));
    }

    pub(crate) fn login(&self, outcome: &'static str) {
        count(&self.logins, outcome);
    }
}

fn count(family: &Family<Outcome, Counter>, outcome: &'static str) {
    family.get_or_create(&Outcome { outcome }).inc();
}

fn failure(reply: &Reply) -> &'static str {
    match reply.code() {
        500.. => "permanent_failure",
        _ => "temporary_failure",
    }
}

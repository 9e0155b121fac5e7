//! Metrics of POP3 sessions.

use postino_telemetry::metric::{Counter, EncodeLabelSet, Family, Gauge};
use postino_telemetry::{Registry, Role};

/// What a login's counter is kept by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LoginLabels {
    result: &'static str,
}

/// The counters of all sessions.
#[derive(Clone)]
pub(super) struct Metrics {
    pub(super) sessions: Gauge,
    pub(super) read: Counter,
    pub(super) deleted: Counter,
    logins: Family<LoginLabels, Counter>,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let role = Role::Access;
        Self {
            sessions: registry.register(
                role,
                "pop3_open_sessions",
                "POP3 sessions that are open",
                Gauge::default(),
            ),
            read: registry.register(
                role,
                "pop3_messages_read",
                "messages sent by RETR and TOP",
                Counter::default(),
            ),
            deleted: registry.register(
                role,
                "pop3_messages_deleted",
                "messages deleted by QUIT",
                Counter::default(),
            ),
            logins: registry.register(
                role,
                "pop3_logins",
                "POP3 log-ins by result",
                Family::default(),
            ),
        }
    }

    pub(super) fn login(&self, result: &'static str) {
        self.logins.get_or_create(&LoginLabels { result }).inc();
    }
}

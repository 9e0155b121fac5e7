//! Metrics of IMAP sessions.

use postino_imap::response::Condition;
use postino_telemetry::metric::{Counter, EncodeLabelSet, Family, Gauge};
use postino_telemetry::{Registry, Role};

/// What a command's counter is kept by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CommandLabels {
    command: &'static str,
    result: &'static str,
}

/// What a login's counter is kept by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LoginLabels {
    result: &'static str,
}

/// The counters of all sessions.
#[derive(Clone)]
pub(super) struct Metrics {
    pub(super) sessions: Gauge,
    commands: Family<CommandLabels, Counter>,
    logins: Family<LoginLabels, Counter>,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let role = Role::Access;
        Self {
            sessions: registry.register(
                role,
                "imap_open_sessions",
                "IMAP sessions that are open",
                Gauge::default(),
            ),
            commands: registry.register(
                role,
                "imap_commands",
                "IMAP commands by name and result",
                Family::default(),
            ),
            logins: registry.register(
                role,
                "imap_logins",
                "IMAP log-ins by result",
                Family::default(),
            ),
        }
    }

    pub(super) fn command(&self, command: &'static str, condition: Option<Condition>) {
        let result = condition.map_or("CLOSED", Condition::as_str);
        let labels = CommandLabels { command, result };
        self.commands.get_or_create(&labels).inc();
    }

    pub(super) fn login(&self, result: &'static str) {
        self.logins.get_or_create(&LoginLabels { result }).inc();
    }
}

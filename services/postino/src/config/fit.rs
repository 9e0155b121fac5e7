//! How the settings of different roles fit together. Each process checks its own; where processes
//! have other settings than each other, the store refuses what it cannot do.

use std::time::Duration;

use postino_config::SettingError;

use super::Config;

/// How much longer than a letter lives the store remembers that it was filed: the last attempt may
/// start at the end of its life, and clocks may differ.
const AFTER_LIFE: Duration = Duration::from_secs(86_400);
/// What a gRPC message holds besides the part that its sender measured.
const FRAME: u64 = 64 * 1024;

/// Checks what no section can check alone.
pub(super) fn check(config: &Config) -> Result<(), SettingError> {
    let (store, queue, grpc) = (&config.store, &config.queue, &config.grpc);
    let message = grpc.max_message.get();
    let fits = |octets: u64| octets.saturating_add(FRAME) <= message;
    let rules = [
        (
            store.filed_ttl.get() >= queue.lifetime.get().saturating_add(AFTER_LIFE),
            "filed_ttl must exceed queue.lifetime by a day at least, or a late attempt could file \
             a letter twice",
        ),
        (
            store.lease_limit >= queue.lease_ttl,
            "lease_limit must be queue.lease_ttl at least",
        ),
        (
            store.message_limit >= config.ingress.max_size,
            "message_limit must be ingress.max_size at least",
        ),
        (
            store.message_limit >= config.access.imap.max_append,
            "message_limit must be access.imap.max_append at least",
        ),
        (
            store.recipients_limit as usize >= config.ingress.max_recipients,
            "recipients_limit must be ingress.max_recipients at least",
        ),
        (
            fits(store.raft.proposal_size.get()),
            "raft.proposal_size must leave 64 KiB of grpc.max_message",
        ),
    ];
    postino_config::check("store", &rules)?;
    let chunk = "chunk must leave 64 KiB of grpc.max_message";
    postino_config::check("ingress", &[(fits(config.ingress.chunk.get()), chunk)])?;
    let settle = "settle_size must leave 64 KiB of grpc.max_message";
    postino_config::check("queue", &[(fits(queue.settle_size.get()), settle)])
}

#[cfg(test)]
mod tests {
    use super::super::layered;

    /// Each assignment breaks one rule, and the error names the setting.
    #[test]
    fn settings_that_do_not_fit_are_refused() {
        let check =
            |assignment: &str| layered(None, &[assignment.to_owned()]).and_then(|c| c.check());
        for good in ["queue.lifetime=13d", "store.filed_ttl=6d"] {
            check(good).expect("good");
        }
        for (bad, names) in [
            ("queue.lifetime=13d1s", "store.filed_ttl"),
            ("store.filed_ttl=5d", "store.filed_ttl"),
            ("queue.lease_ttl=2m", "store.lease_limit"),
            ("ingress.max_size=65MiB", "store.message_limit"),
            ("access.imap.max_append=65MiB", "store.message_limit"),
            ("ingress.max_recipients=1001", "store.recipients_limit"),
            ("grpc.max_message=1MiB", "store.raft.proposal_size"),
            ("ingress.chunk=16MiB", "ingress.chunk"),
            ("queue.settle_size=16MiB", "queue.settle_size"),
            ("telemetry.sampling=1.5", "telemetry.sampling"),
            ("telemetry.log=x=y=z", "telemetry.log"),
            ("net.connections=0", "net.connections"),
            ("auth.scram_iterations=1", "auth.scram_iterations"),
            ("access.imap.batch=0", "access.imap.batch"),
            ("access.pop3.max_line=10", "access.pop3.max_line"),
            ("ingress.max_errors=0", "ingress.max_errors"),
            (
                "store_client.directory_ttl=2s",
                "store_client.directory_ttl",
            ),
            ("routing_client.attempt_timeout=1h", "routing_client"),
            ("tls.key=key.pem", "tls.certificate and tls.key"),
        ] {
            let error = check(bad).expect_err(bad).to_string();
            assert!(error.contains(names), "{bad}: {error}");
        }
    }
}

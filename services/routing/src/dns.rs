//! Questions to the DNS. The only file that names hickory.

use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::sync::Semaphore;

use crate::config::{AddressFamilies, RoutingConfig};
use crate::records::{Answer, MxRecord, Timed, join_families};

/// The questions that routing asks. Names are in ASCII, without the final dot.
pub trait Dns: Send + Sync + 'static {
    /// The MX records of a domain.
    fn mx(&self, domain: &str) -> impl Future<Output = Timed<MxRecord>> + Send;
    /// The addresses of a host.
    fn addresses(&self, host: &str) -> impl Future<Output = Timed<IpAddr>> + Send;
}

/// The resolver cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the DNS resolver cannot be set up: {0}")]
pub struct DnsSetupError(String);

/// A resolver that asks the configured name servers.
pub struct Resolver {
    resolver: TokioResolver,
    families: AddressFamilies,
    timeout: Duration,
    failure_ttl: Duration,
    permits: Semaphore,
}

impl Resolver {
    /// Sets the resolver up: with the name server of the settings, or else those of the system.
    pub fn new(config: &RoutingConfig) -> Result<Self, DnsSetupError> {
        let failed = |error: NetError| DnsSetupError(error.to_string());
        let mut builder = match config.dns {
            Some(server) => {
                let config = ResolverConfig::from_name_servers(vec![name_server(server)]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            None => TokioResolver::builder_tokio().map_err(failed)?,
        };
        let options = builder.options_mut();
        options.timeout = config.dns_timeout.get();
        options.attempts = config.dns_attempts;
        options.edns0 = true;
        options.positive_max_ttl = Some(config.max_ttl.get());
        options.negative_max_ttl = Some(config.max_ttl.get());
        if config.dns.is_some() {
            // What is asked of a given server is answered by that server.
            options.use_hosts_file = ResolveHosts::Never;
        }
        Ok(Self {
            resolver: builder.build().map_err(failed)?,
            families: config.address_families,
            timeout: config.lookup_timeout.get(),
            failure_ttl: config.failure_ttl.get(),
            permits: Semaphore::new(config.max_lookups),
        })
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Timed<T> {
        let failed = |why: String| Timed {
            answer: Answer::Failed(why),
            ttl: self.failure_ttl,
        };
        // With the dot, no search list applies.
        let Ok(name) = Name::from_ascii(format!("{name}.")) else {
            return Timed {
                answer: Answer::NoName,
                ttl: self.failure_ttl,
            };
        };
        let Ok(_permit) = self.permits.acquire().await else {
            return failed("the resolver is shutting down".into());
        };
        match tokio::time::timeout(self.timeout, self.resolver.lookup(name, kind)).await {
            Ok(Ok(lookup)) => found(&lookup, read),
            Ok(Err(error)) => absent(&error, self.failure_ttl),
            Err(_) => failed("no answer in time".into()),
        }
    }
}

impl Dns for Resolver {
    async fn mx(&self, domain: &str) -> Timed<MxRecord> {
        let read = |data: &RData| match data {
            RData::MX(mx) => Some(MxRecord {
                preference: mx.preference,
                exchange: host_name(&mx.exchange),
            }),
            _ => None,
        };
        self.ask(domain, RecordType::MX, read).await
    }

    async fn addresses(&self, host: &str) -> Timed<IpAddr> {
        let v4 = self.ask(host, RecordType::A, |data| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            _ => None,
        });
        let v6 = self.ask(host, RecordType::AAAA, |data| match data {
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        });
        match self.families {
            AddressFamilies::Ipv4 => v4.await,
            AddressFamilies::Ipv6 => v6.await,
            AddressFamilies::Both => {
                let (v6, v4) = tokio::join!(v6, v4);
                join_families(v6, v4)
            }
        }
    }
}

fn name_server(server: std::net::SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = vec![
        at_port(ConnectionConfig::udp()),
        at_port(ConnectionConfig::tcp()),
    ];
    NameServerConfig::new(server.ip(), true, connections)
}

/// A name in lower case without its final dot; the root is empty.
fn host_name(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

fn found<T>(lookup: &Lookup, read: impl Fn(&RData) -> Option<T>) -> Timed<T> {
    // The answer to a name that is an alias holds its CNAMEs, too.
    let records: Vec<T> = lookup
        .answers()
        .iter()
        .filter_map(|record| read(&record.data))
        .collect();
    let ttl = lookup
        .valid_until()
        .saturating_duration_since(Instant::now());
    let answer = match records.is_empty() {
        true => Answer::NoRecords,
        false => Answer::Found(records),
    };
    Timed { answer, ttl }
}

fn absent<T>(error: &NetError, failure_ttl: Duration) -> Timed<T> {
    let NetError::Dns(DnsError::NoRecordsFound(none)) = error else {
        return Timed {
            answer: Answer::Failed(error.to_string()),
            ttl: failure_ttl,
        };
    };
    let ttl = none
        .negative_ttl
        .map_or(failure_ttl, |ttl| Duration::from_secs(ttl.into()));
    match none.response_code {
        ResponseCode::NXDomain => Timed {
            answer: Answer::NoName,
            ttl,
        },
        ResponseCode::NoError => Timed {
            answer: Answer::NoRecords,
            ttl,
        },
        code => Timed {
            answer: Answer::Failed(code.to_string()),
            ttl: failure_ttl,
        },
    }
}

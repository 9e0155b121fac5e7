//! Which role a piece of code works for.
//!
//! Several roles may share a process, and each exports its spans under its own name. A span
//! belongs to the role of the crate that made it; one made by a shared library belongs to the
//! role of its task, or else to that of its parent.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::str::FromStr;

use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// A role of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The replicated store.
    Store,
    /// Who is local, and where a domain's mail goes.
    Routing,
    /// The delivery queue.
    Queue,
    /// SMTP in.
    Ingress,
    /// IMAP and POP3.
    Access,
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role: there are store, routing, queue, ingress and access")]
pub struct RoleError(String);

impl Role {
    /// All roles, in the order in which they start.
    pub const ALL: [Self; 5] = [
        Self::Store,
        Self::Routing,
        Self::Queue,
        Self::Ingress,
        Self::Access,
    ];

    /// The role's name: `ingress`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Routing => "routing",
            Self::Queue => "queue",
            Self::Ingress => "ingress",
            Self::Access => "access",
        }
    }

    /// The name that its spans are exported under: `postino-ingress`.
    pub const fn service_name(self) -> &'static str {
        match self {
            Self::Store => "postino-store",
            Self::Routing => "postino-routing",
            Self::Queue => "postino-queue",
            Self::Ingress => "postino-ingress",
            Self::Access => "postino-access",
        }
    }

    /// The role whose crate a `tracing` target such as `postino_ingress::session` belongs to.
    pub(crate) fn of_target(target: &str) -> Option<Self> {
        let krate = target.split("::").next()?.strip_prefix("postino_")?;
        krate.parse().ok()
    }

    /// The role that serves a gRPC path such as `/postino.store.v1.Spool/Accept`.
    pub(crate) fn of_grpc_path(path: &str) -> Option<Self> {
        match path.strip_prefix("/postino.")?.split('.').next()? {
            "store" | "admin" | "cluster" | "raft" => Some(Self::Store),
            "routing" => Some(Self::Routing),
            "queue" => Some(Self::Queue),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| RoleError(text.to_owned()))
    }
}

tokio::task_local! {
    static TASK: Role;
}

/// Runs a task for a role. A task it spawns does not inherit the role: see [`in_current_role`].
pub fn role<F: Future>(role: Role, task: F) -> impl Future<Output = F::Output> {
    TASK.scope(role, task)
}

/// Runs a piece of code for a role.
pub(crate) fn with_role<T>(role: Role, work: impl FnOnce() -> T) -> T {
    TASK.sync_scope(role, work)
}

/// The role of the current task, if one was given to it.
pub fn current_role() -> Option<Role> {
    TASK.try_with(|role| *role).ok()
}

/// Hands the current task's role on: `tokio::spawn(in_current_role(task))`.
pub fn in_current_role<F: Future>(task: F) -> impl Future<Output = F::Output> {
    let inherited = current_role();
    async move {
        match inherited {
            Some(inherited) => TASK.scope(inherited, task).await,
            None => task.await,
        }
    }
}

thread_local! {
    static NEW_SPAN: Cell<Option<Role>> = const { Cell::new(None) };
}

/// The role of the span that is being made on this thread, for the tracer.
pub(crate) fn of_new_span() -> Option<Role> {
    NEW_SPAN.get()
}

/// Finds the role of each new span, and remembers it for the span's children.
pub(crate) struct RoleLayer;

#[derive(Clone, Copy)]
struct SpanRole(Option<Role>);

impl RoleLayer {
    fn find<S>(
        metadata: &Metadata<'_>,
        attrs: &Attributes<'_>,
        ctx: &Context<'_, S>,
    ) -> Option<Role>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let parent = || {
            let parent = match attrs.parent() {
                Some(parent) => ctx.span(parent),
                None if attrs.is_contextual() => ctx.lookup_current(),
                None => None,
            };
            parent.and_then(|span| span.extensions().get::<SpanRole>().and_then(|role| role.0))
        };
        Role::of_target(metadata.target())
            .or_else(current_role)
            .or_else(parent)
    }
}

impl<S> Layer<S> for RoleLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let role = Self::find(attrs.metadata(), attrs, &ctx);
        NEW_SPAN.set(role);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(SpanRole(role));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_paths_name_roles() {
        assert_eq!(
            Role::of_target("postino_ingress::session::rcpt"),
            Some(Role::Ingress)
        );
        assert_eq!(Role::of_target("postino_store"), Some(Role::Store));
        assert_eq!(Role::of_target("postino_net::accept"), None);
        assert_eq!(Role::of_target("hyper::client"), None);
        assert_eq!(
            Role::of_grpc_path("/postino.store.v1.Spool/Accept"),
            Some(Role::Store)
        );
        assert_eq!(Role::of_grpc_path("/grpc.health.v1.Health/Check"), None);
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(role.service_name(), format!("postino-{role}"));
        }
    }

    #[tokio::test]
    async fn a_role_is_handed_on_to_a_spawned_task() {
        assert_eq!(current_role(), None);
        let inherited = role(Role::Queue, async {
            tokio::spawn(in_current_role(async { current_role() }))
                .await
                .expect("ran")
        });
        assert_eq!(inherited.await, Some(Role::Queue));
    }
}

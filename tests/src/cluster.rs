//! One process a role, started, killed and ended by `deploy/cluster.sh`: what a user runs.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use crate::process::{binary, is_alive, signal, tail, top};
use crate::program::{Output, run};
use crate::wait::{seconds, until};

/// A process as `cluster.json` describes it.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its name: "store-1", "ingress-1" …
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// What it does.
    pub roles: Vec<String>,
    /// Listener name to address.
    pub addresses: BTreeMap<String, SocketAddr>,
}

#[derive(Deserialize)]
struct Description {
    nodes: Vec<Node>,
}

/// What to start.
pub struct Builder {
    counts: BTreeMap<&'static str, usize>,
    arguments: Vec<String>,
    environment: Vec<String>,
    hosts: String,
    directory: Option<TempDir>,
    restore: Option<PathBuf>,
}

impl Builder {
    fn count(mut self, role: &'static str, n: usize) -> Self {
        self.counts.insert(role, n);
        self
    }

    /// How many store nodes.
    pub fn stores(self, n: usize) -> Self {
        self.count("stores", n)
    }

    /// How many queue processes.
    pub fn queues(self, n: usize) -> Self {
        self.count("queues", n)
    }

    /// How many ingress processes.
    pub fn ingresses(self, n: usize) -> Self {
        self.count("ingresses", n)
    }

    /// Adds `--set KEY=VALUE` to every process.
    pub fn set(self, key: &str, value: impl std::fmt::Display) -> Self {
        self.arguments(["--set".to_owned(), format!("{key}={value}")])
    }

    /// Adds command-line arguments to every process.
    pub fn arguments<S: Into<String>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(more.into_iter().map(Into::into));
        self
    }

    /// Where processes run that do not run at 127.0.0.1, as `cluster.sh up --hosts` reads it.
    pub fn hosts(mut self, lines: &str) -> Self {
        self.hosts = lines.to_owned();
        self
    }

    /// Where the cluster's files are, if something is to be there before it.
    pub fn directory(mut self, directory: TempDir) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Begins with this backup instead of with two accounts.
    pub fn restore(mut self, backup: &Path) -> Self {
        self.restore = Some(backup.to_owned());
        self
    }

    /// Sets an environment variable for every process.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    /// Starts the cluster, and waits until every process is ready.
    pub async fn start(self) -> Result<Cluster> {
        let directory = match self.directory {
            Some(directory) => directory,
            None => TempDir::with_prefix("postino-cluster-")?,
        };
        let mut environment = self.environment;
        environment.push(format!("POSTINO_BIN={}", binary()?.display()));
        let cluster = Cluster {
            directory,
            environment,
        };
        let mut arguments = Vec::new();
        if !self.hosts.is_empty() {
            let path = cluster.path().join("where");
            fs::write(&path, self.hosts)?;
            arguments.extend(["--hosts".to_owned(), path.to_string_lossy().into_owned()]);
        }
        if let Some(backup) = self.restore {
            arguments.extend([
                "--restore".to_owned(),
                backup.to_string_lossy().into_owned(),
            ]);
        }
        for (role, n) in self.counts {
            arguments.extend([format!("--{role}"), n.to_string()]);
        }
        arguments.push("--".into());
        arguments.extend(self.arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        cluster.script("up", &arguments).await?;
        Ok(cluster)
    }
}

/// A running cluster. Ended when dropped.
pub struct Cluster {
    directory: TempDir,
    environment: Vec<String>,
}

impl Cluster {
    /// Sets one up: three stores and one process of each other role.
    pub fn builder() -> Builder {
        Builder {
            counts: BTreeMap::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            hosts: String::new(),
            directory: None,
            restore: None,
        }
    }

    async fn script(&self, verb: &str, more: &[&str]) -> Result<String> {
        self.script_in(&self.environment, verb, more).await
    }

    async fn script_in(&self, environment: &[String], verb: &str, more: &[&str]) -> Result<String> {
        let script = top().join("deploy/cluster.sh");
        let (script, dir) = (script.to_string_lossy(), self.path().to_string_lossy());
        let mut arguments: Vec<&str> = environment.iter().map(String::as_str).collect();
        arguments.extend(["bash", &script, verb, &dir]);
        arguments.extend(more);
        let output = run("env", &arguments).await?;
        output
            .success()
            .with_context(|| format!("cluster.sh {verb}{}", self.logs()))
    }

    /// The cluster's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// All processes.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        let text = fs::read(self.path().join("cluster.json")).context("cluster.json")?;
        Ok(serde_json::from_slice::<Description>(&text)?.nodes)
    }

    /// One process by its name.
    pub fn node(&self, name: &str) -> Result<Node> {
        let nodes = self.nodes()?;
        nodes
            .into_iter()
            .find(|node| node.name == name)
            .with_context(|| format!("no {name}"))
    }

    /// The address of a listener of a process.
    pub fn address(&self, name: &str, listener: &str) -> Result<SocketAddr> {
        let node = self.node(name)?;
        let address = node.addresses.get(listener).copied();
        address.with_context(|| format!("{name} has no {listener}: {:?}", node.addresses))
    }

    /// Where mail comes in.
    pub fn smtp(&self) -> Result<SocketAddr> {
        self.address("ingress-1", "smtp")
    }

    /// Where mail is read.
    pub fn imap(&self) -> Result<SocketAddr> {
        self.address("access-1", "imap")
    }

    /// `kill -9` of one process.
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.script("kill", &[name]).await.map(drop)
    }

    /// Ends one process with SIGTERM, and waits until it is gone.
    pub async fn stop(&self, name: &str) -> Result<()> {
        self.script("stop", &[name]).await.map(drop)
    }

    /// Starts a process again that was killed or stopped.
    pub async fn start(&self, name: &str) -> Result<()> {
        self.script("start", &[name]).await.map(drop)
    }

    /// The same without an environment variable that the others have.
    pub async fn start_without(&self, name: &str, variable: &str) -> Result<()> {
        let mut environment = self.environment.clone();
        environment.retain(|set| set.split('=').next() != Some(variable));
        let started = self.script_in(&environment, "start", &[name]).await;
        started.map(drop)
    }

    /// Starts a process again that was told to end, once it has.
    pub async fn start_ended(&self, name: &str) -> Result<()> {
        let pid = self.node(name)?.pid;
        let ended = async || (!is_alive(pid)).then_some(());
        until(&format!("{name} ends"), seconds(60), ended).await?;
        self.start(name).await
    }

    /// Starts one more process of a role, as number `n` of it.
    pub async fn add(&self, role: &str, n: usize) -> Result<()> {
        self.script("add", &[role, &n.to_string()]).await.map(drop)
    }

    /// Sends a process a signal.
    pub fn signal(&self, name: &str, which: Signal) -> Result<()> {
        signal(self.node(name)?.pid, which)
    }

    /// Ends all processes; an error if one does not end well.
    pub async fn down(&self) -> Result<()> {
        self.script("down", &[]).await.map(drop)
    }

    /// Runs a command of the binary against a store node of this cluster.
    pub async fn command(&self, arguments: &[&str]) -> Result<Output> {
        self.command_at("store-1", arguments).await
    }

    /// Runs a command of the binary against one store node.
    pub async fn command_at(&self, node: &str, arguments: &[&str]) -> Result<Output> {
        let endpoint = format!("http://{}", self.address(node, "admin")?);
        let mut all: Vec<&str> = arguments.to_vec();
        all.extend(["--endpoint", &endpoint]);
        run(&binary()?.to_string_lossy(), &all).await
    }

    /// Waits until no letter is in the queue.
    pub async fn until_queue_is_empty(&self, limit: Duration) -> Result<()> {
        self.until_queue_is_empty_at("store-1", limit).await
    }

    /// Waits until no letter is in the queue, as a store node says.
    pub async fn until_queue_is_empty_at(&self, node: &str, limit: Duration) -> Result<()> {
        let empty = async || {
            let list = self.command_at(node, &["queue", "list", "--json"]).await;
            (list.ok()?.success().ok()?.trim() == "[]").then_some(())
        };
        until("the queue is empty", limit, empty).await
    }

    /// The store node that leads a shard, as a living node sees it.
    pub async fn leader(&self, shard: u32) -> Result<String> {
        let known = async || {
            for node in self.nodes().ok()? {
                if !node.roles.iter().any(|role| role == "store") {
                    continue;
                }
                if let Ok(Some(leader)) = self.leader_seen_by(&node.name, shard).await {
                    return Some(leader);
                }
            }
            None
        };
        until(&format!("a leader of shard {shard}"), seconds(20), known).await
    }

    /// What `cluster status --json` says at one store node.
    pub async fn status_at(&self, node: &str) -> Result<serde_json::Value> {
        let output = self.command_at(node, &["cluster", "status", "--json"]);
        Ok(serde_json::from_str(&output.await?.success()?)?)
    }

    async fn leader_seen_by(&self, node: &str, shard: u32) -> Result<Option<String>> {
        let status = self.status_at(node).await?;
        let groups = status["groups"].as_array().context("groups")?;
        let group = groups
            .iter()
            .find(|g| g["shard"].as_u64() == Some(shard.into()));
        let Some(endpoint) = group.and_then(|g| g["leader"].as_str()) else {
            return Ok(None);
        };
        let nodes = self.nodes()?.into_iter();
        let mut leads = nodes.filter(|node| {
            node.addresses
                .get("admin")
                .is_some_and(|admin| endpoint.ends_with(&admin.to_string()))
        });
        Ok(leads.next().map(|node| node.name))
    }

    /// The log of a process.
    pub fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.path().join(name).join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of all logs.
    pub fn logs(&self) -> String {
        let entries = fs::read_dir(self.path()).into_iter().flatten().flatten();
        let logs: Vec<PathBuf> = entries.map(|entry| entry.path().join("log")).collect();
        let mut text = String::new();
        for log in logs {
            if let Ok(bytes) = fs::read(&log) {
                let last = tail(&String::from_utf8_lossy(&bytes));
                text.push_str(&format!("\n---- {}\n{last}", log.display()));
            }
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // Not "down": a test that failed must not wait for a graceful end, and must leave nothing.
        for node in self.nodes().unwrap_or_default() {
            let _ = signal(node.pid, Signal::KILL);
        }
    }
}

/// The role of each process, when every process has just one; otherwise an error.
pub fn roles(nodes: &[Node]) -> Result<Vec<&str>> {
    let mut roles = Vec::new();
    for node in nodes {
        ensure!(node.roles.len() == 1, "{} has {:?}", node.name, node.roles);
        roles.push(node.roles[0].as_str());
    }
    Ok(roles)
}

//! The direction of dependencies, as services/ARCHITECTURE.md fixes it, from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use postino_tests::process::top;

/// Libraries that know no runtime, no transport, no database.
const PURE: [&str; 5] = [
    "postino-types",
    "postino-smtp",
    "postino-imap",
    "postino-pop3",
    "postino-message",
];
const SERVICES: [&str; 5] = [
    "postino-store",
    "postino-routing",
    "postino-queue",
    "postino-ingress",
    "postino-access",
];
/// What wires the services together.
const WIRING: [&str; 2] = ["postino", "postino-tests"];

/// Each package with what it depends on, tests and build scripts of its own left out.
struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    fn read() -> Result<Self> {
        let manifest = top().join("Cargo.toml");
        let metadata: Metadata = MetadataCommand::new()
            .manifest_path(manifest)
            .other_options(["--locked".to_owned()])
            .exec()?;
        let names: BTreeMap<_, _> = metadata
            .packages
            .iter()
            .map(|p| (p.id.clone(), p.name.to_string()))
            .collect();
        let mut graph = BTreeMap::new();
        for node in metadata
            .resolve
            .map(|resolve| resolve.nodes)
            .unwrap_or_default()
        {
            let normal = node.deps.iter().filter(|dependency| {
                dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal)
            });
            let needs: BTreeSet<String> = normal.map(|d| names[&d.pkg].clone()).collect();
            // Two versions of one package are one for this purpose.
            graph
                .entry(names[&node.id].clone())
                .or_insert_with(BTreeSet::new)
                .extend(needs);
        }
        anyhow::ensure!(
            graph.contains_key("postino"),
            "the binary is not in the metadata"
        );
        Ok(Self(graph))
    }

    fn direct(&self, name: &str) -> &BTreeSet<String> {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("no package {name}"))
    }

    fn reachable(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            for next in self.direct(&name) {
                if found.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        found
    }

    fn ours(&self) -> impl Iterator<Item = &String> {
        self.0
            .keys()
            .filter(|name| *name == "postino" || name.starts_with("postino-"))
    }
}

#[test]
fn pure_libraries_know_no_runtime_no_transport_no_database() -> Result<()> {
    let graph = Graph::read()?;
    for library in PURE {
        let needs = graph.reachable(library);
        for forbidden in ["tokio", "tonic", "rocksdb", "openraft"] {
            assert!(!needs.contains(forbidden), "{library} reaches {forbidden}");
        }
    }
    Ok(())
}

#[test]
fn services_do_not_know_each_other() -> Result<()> {
    let graph = Graph::read()?;
    for name in graph.ours().filter(|name| !WIRING.contains(&name.as_str())) {
        for service in SERVICES.iter().filter(|service| **service != name) {
            assert!(
                !graph.reachable(name).contains(*service),
                "{name} reaches {service}"
            );
        }
    }
    Ok(())
}

#[test]
fn heavy_libraries_live_in_one_place() -> Result<()> {
    let graph = Graph::read()?;
    for (library, home) in [
        ("openraft", "postino-store"),
        ("rocksdb", "postino-store"),
        ("hickory-resolver", "postino-routing"),
    ] {
        for name in graph.ours() {
            assert_eq!(
                graph.direct(name).contains(library),
                name == home,
                "{name}: {library}"
            );
        }
    }
    Ok(())
}

#[test]
fn dependencies_point_one_way() -> Result<()> {
    let graph = Graph::read()?;
    let layer = |name: &str| match name {
        "postino-types" => 0,
        "postino-smtp" | "postino-imap" | "postino-pop3" | "postino-message" => 1,
        "postino-config" | "postino-telemetry" | "postino-proto" | "postino-net"
        | "postino-client" => 2,
        "postino" | "postino-tests" => 4,
        _ => 3,
    };
    for name in graph.ours() {
        for needed in graph
            .direct(name)
            .iter()
            .filter(|n| n.starts_with("postino"))
        {
            let (upper, lower) = (layer(name), layer(needed));
            assert!(
                lower < upper || (lower == 2 && upper == 2),
                "{name} needs {needed}"
            );
        }
    }
    Ok(())
}

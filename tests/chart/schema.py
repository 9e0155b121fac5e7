"""values.schema.json: what the values may be.

The part under "config" comes from what `postino config default` prints. Everything else follows
values.yaml, with the rules below for what its defaults do not tell; no key that is not there is
allowed.
"""
import re
import tomllib

# What the chart sets itself: by values of their own, or not at all.
OWNED = {
    "hostname", "data", "listen", "tls", "grpc.insecure", "net.drain", "net.proxy_protocol_from",
    "store.shards", "store_client.endpoints", "routing_client.endpoints", "routing.postmaster",
    "telemetry.log", "telemetry.format", "telemetry.sampling", "telemetry.otlp_endpoint",
}


def settings(sample):
    """The schema of the settings in a configuration file; those without a default are texts."""
    return setting(tomllib.loads(re.sub(r"(?m)^# (\w+) =$", r'\1 = ""', sample)), "")


def setting(value, path):
    if isinstance(value, dict):
        inner = {key: setting(v, f"{path}.{key}" if path else key) for key, v in value.items()}
        kept = {k: v for k, v in inner.items() if (f"{path}.{k}" if path else k) not in OWNED}
        return {"type": "object", "additionalProperties": False, "properties": kept}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer", "minimum": 0}
    if isinstance(value, float):
        return {"type": "number"}
    if isinstance(value, list):
        return {"type": "array", "items": {"type": "string"}}
    return {"type": "string"}


NAME = {"type": "string", "pattern": r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
COUNT = {"type": "integer", "minimum": 1, "maximum": 1000}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
PORTS = {"type": "object", "additionalProperties": False}
OBJECT = {"type": "object"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECTS = {"type": "array", "items": {"type": "object"}}
CIDRS = {"type": "array", "items": {"type": "string", "pattern": r"^[0-9a-fA-F:.]+/[0-9]{1,3}$"}}
SIZE = {"type": "string", "pattern": r"^[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)$"}


def one_of(*values):
    return {"enum": list(values)}


# By path; "*" stands for one part of it.
RULES = {
    "hostname": {"anyOf": [{"const": ""}, NAME]},
    "domains": {"type": "array", "items": NAME, "uniqueItems": True},
    "clusterDomain": NAME | {"pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
    "postmaster": {"type": "string", "pattern": r"^$|^[^@\s]+@[^@\s]+$"},
    "cluster.shards": {"type": "integer", "minimum": 1, "maximum": 1024},
    "cluster.initDeadlineSeconds": {"type": "integer", "minimum": 60},
    "drainSeconds": {"type": "integer", "minimum": 1, "maximum": 3600},
    "preStopSeconds": {"type": "integer", "minimum": 0, "maximum": 300},
    "proxyProtocol.trustedNetworks": CIDRS,
    "network.ipFamily": one_of("IPv4", "IPv6"),
    "image.digest": {"type": "string", "pattern": r"^$|^sha256:[0-9a-f]{64}$"},
    "image.repository": {"type": "string", "minLength": 1},
    "image.pullPolicy": one_of("Always", "IfNotPresent", "Never"),
    "image.pullSecrets": OBJECTS,
    "serviceAccount.annotations": TEXTS,
    "tls.certManager.issuerRef.kind": one_of("Issuer", "ClusterIssuer"),
    "tls.certManager.dnsNames": {"type": "array", "items": NAME},
    "store.replicas": one_of(1, 3, 5, 7),
    "store.antiAffinity": one_of("Required", "Preferred"),
    "store.persistence.size": SIZE,
    "store.persistence.annotations": TEXTS,
    "store.persistence.labels": TEXTS,
    "store.persistence.accessModes": {"type": "array", "minItems": 1, "items": one_of("ReadWriteOnce", "ReadWriteOncePod")},
    "store.persistence.whenDeleted": one_of("Retain", "Delete"),
    # A volume that is deleted because a number was lowered is a replica lost by a typing error.
    "store.persistence.whenScaled": one_of("Retain", "Delete"),
    "*.replicas": COUNT,
    "*.startupSeconds": {"type": "integer", "minimum": 5, "maximum": 86400},
    "*.resources": OBJECT,
    "*.autoscaling.minReplicas": COUNT,
    "*.autoscaling.maxReplicas": COUNT,
    "*.autoscaling.targetCPUUtilizationPercentage": {"type": "integer", "minimum": 1, "maximum": 1000},
    "*.autoscaling.metrics": OBJECTS,
    "*.autoscaling.scaleDownStabilizationSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
    "*.podDisruptionBudget.maxUnavailable": {"type": "integer", "minimum": 0},
    # More than one store at a time is no majority of three.
    "store.podDisruptionBudget.maxUnavailable": one_of(0, 1),
    "*.networkPolicy.extraIngress": OBJECTS,
    "*.networkPolicy.extraEgress": OBJECTS,
    "services.*.type": one_of("LoadBalancer", "NodePort", "ClusterIP"),
    "services.*.externalTrafficPolicy": one_of("Local", "Cluster"),
    "services.*.annotations": TEXTS,
    "services.*.labels": TEXTS,
    "services.*.loadBalancerSourceRanges": CIDRS,
    "networkPolicy.clientsFrom": OBJECTS,
    "networkPolicy.dns": OBJECTS,
    "networkPolicy.smtp.ports": {"type": "array", "items": PORT},
    "networkPolicy.smtp.cidrs": CIDRS | {"minItems": 1},
    "networkPolicy.smtp.except": CIDRS,
    "networkPolicy.metricsFrom": OBJECTS,
    "networkPolicy.otlpTo": OBJECTS,
    "telemetry.otlpEndpoint": {"type": "string", "pattern": r"^$|^http://[^/:]+:[0-9]+$"},
    "telemetry.sampling": {"type": "number", "minimum": 0, "maximum": 1},
    "telemetry.logFormat": one_of("text", "json"),
    "jaeger.maxTraces": {"type": "integer", "minimum": 1},
    "jaeger.resources": OBJECT,
    "podMonitor.labels": TEXTS,
    "prometheusRule.labels": TEXTS,
    "dashboards.labels": TEXTS,
    "extraObjects": OBJECTS,
}
POD = {
    "annotations": TEXTS, "labels": TEXTS, "podAnnotations": TEXTS, "podLabels": TEXTS,
    "nodeSelector": TEXTS, "tolerations": OBJECTS, "affinity": OBJECT,
    "topologySpreadConstraints": OBJECTS, "priorityClassName": {"type": "string"},
    "extraEnv": OBJECTS, "extraEnvFrom": OBJECTS, "extraVolumes": OBJECTS,
    "extraVolumeMounts": OBJECTS,
}
TIERS = ("store", "routing", "queue", "ingress", "access")


def rule(path):
    parts = path.split(".")
    for candidate, what in sorted(RULES.items(), key=lambda item: item[0].count("*")):
        pattern = candidate.split(".")
        if len(pattern) == len(parts) and all(p in ("*", q) for p, q in zip(pattern, parts)):
            return what
    return None


def value(default, path, config):
    if path == "config":
        return config
    if (what := rule(path)) is not None:
        return what
    if path == "podDefaults":
        return {"type": "object", "additionalProperties": False, "properties": POD}
    if path.startswith("services.") and path.endswith((".ports", ".nodePorts")):
        names = {"smtp": ["smtp"], "submission": ["submission", "submissions"],
                 "imap": ["imap", "imaps"], "pop3": ["pop3", "pop3s"]}[path.split(".")[1]]
        # null takes a port off the Service.
        port = {"anyOf": [PORT, {"type": "null"}]}
        return PORTS | {"properties": dict.fromkeys(names, port)}
    if isinstance(default, dict):
        inner = {key: value(v, f"{path}.{key}" if path else key, config) for key, v in default.items()}
        if path in TIERS:
            inner |= POD
        if path == "":
            inner["global"] = OBJECT
        return {"type": "object", "additionalProperties": False, "properties": inner}
    if isinstance(default, bool):
        return {"type": "boolean"}
    if isinstance(default, str):
        return {"type": "string"}
    raise ValueError(f"no rule for {path}: {default!r}")


def schema(values, config):
    """The schema of all values; `config` is the one of the settings."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Made by tests/chart/schema.py: tests/chart.sh --update",
    } | value(values, "", config)

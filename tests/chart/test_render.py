"""What is rendered is what was right once, and what Kubernetes takes."""
import json
import os
import re
import tempfile
import unittest

import jsonschema
import kubernetes_validate

import binary
import chart
import golden

# The oldest that Chart.yaml allows, and the newest that is known.
VERSIONS = ("1.30", "1.37")


def custom(kind):
    """Our schema of a kind that is not Kubernetes' own; None for one that is."""
    path = f"{chart.HERE}/crds/{kind}.json"
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return json.load(file)


class Render(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.rendered = golden.files()
        cls.objects = {name: chart.objects(cls.rendered[f"{name}.yaml"]) for name in chart.SETS}

    def each(self):
        for name in chart.SETS:
            with self.subTest(values=name):
                yield name, self.objects[name]

    def test_helm_finds_nothing_to_lint(self):
        for name in chart.SETS:
            with self.subTest(values=name):
                said = chart.helm("lint", "--strict", chart.CHART, "-f", chart.values_of(name))
                self.assertNotRegex(said, r"\[(WARNING|ERROR)\]")

    def test_the_schema_follows_the_values_and_the_binary(self):
        with open(golden.SCHEMA) as file:
            self.assertEqual(file.read(), golden.wanted_schema(), "tests/chart.sh --update")

    def test_the_golden_files_are_what_is_rendered(self):
        self.assertEqual(sorted(os.listdir(f"{chart.HERE}/golden")), sorted(self.rendered))
        for name, text in self.rendered.items():
            with self.subTest(file=name), open(golden.path(name)) as file:
                self.assertEqual(file.read(), text, "tests/chart.sh --update")

    def test_kubernetes_takes_every_object(self):
        for _, objects in self.each():
            for one in objects:
                schema = custom(one["kind"])
                with self.subTest(kind=one["kind"], object=one["metadata"]["name"]):
                    if schema:
                        jsonschema.Draft202012Validator(schema).validate(one)
                        continue
                    for version in VERSIONS:
                        kubernetes_validate.validate(one, version, strict=True)

    def test_no_object_is_there_twice(self):
        for _, objects in self.each():
            names = [(one["kind"], one["metadata"]["name"]) for one in objects]
            self.assertEqual(len(names), len(set(names)))

    def test_all_pods_are_restricted(self):
        """As the restricted pod security standard wants it, and a root file system that stays."""
        for _, objects in self.each():
            for name, pod in chart.pods(objects):
                with self.subTest(pod=name):
                    self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
                    self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                    self.assertIs(pod["automountServiceAccountToken"], False)
                    for container in pod["containers"]:
                        self.assertEqual(container["securityContext"], {
                            "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]},
                        })
                        self.assertIn("memory", container["resources"]["limits"])

    def test_services_lead_to_ports_that_pods_have(self):
        for _, objects in self.each():
            templates = [one["spec"]["template"] for one in objects if one["kind"] in ("StatefulSet", "Deployment")]
            for service in (one for one in objects if one["kind"] == "Service"):
                selector = service["spec"]["selector"].items()
                behind = [t for t in templates if selector <= t["metadata"]["labels"].items()]
                with self.subTest(service=service["metadata"]["name"]):
                    self.assertEqual(len(behind), 1)
                    ports = {port["name"] for port in behind[0]["spec"]["containers"][0]["ports"]}
                    self.assertLessEqual({port["targetPort"] for port in service["spec"]["ports"]}, ports)

    def test_nobody_but_the_tiers_that_call_it_reaches_grpc(self):
        """While it has no authentication, only these policies close it."""
        callers = {
            "store": {"store", "routing", "queue", "ingress", "access", "cluster-init", "check"},
            "routing": {"queue", "ingress"},
            "queue": {"queue"},
        }
        for _, objects in self.each():
            policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
            if not policies:
                continue
            deny = chart.named(policies, "NetworkPolicy", "-deny")
            self.assertEqual(deny["spec"]["policyTypes"], ["Ingress", "Egress"])
            self.assertNotIn("ingress", deny["spec"])
            labels = deny["spec"]["podSelector"]["matchLabels"].items()
            for name, template in ((one["metadata"]["name"], one["spec"]["template"]["metadata"]["labels"])
                                   for one in objects if one["kind"] in ("StatefulSet", "Deployment", "Job")):
                self.assertLessEqual(labels, template.items(), name)
            for policy in policies:
                if policy is deny:
                    continue
                role = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
                found = set()
                for rule in policy["spec"].get("ingress", []):
                    ports = [port.get("port") for port in rule.get("ports", [{}])]
                    if 2090 in ports or None in ports:
                        self.assertEqual(ports, [2090])
                        for peer in rule["from"]:
                            self.assertEqual(set(peer), {"podSelector"}, "of this namespace")
                            found.add(peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"])
                self.assertEqual(found, callers.get(role, set()), role)

    def test_a_pod_has_time_to_stop(self):
        """preStop, then what comes in is drained, then the rest; 5 s of that move leaderships."""
        for _, objects in self.each():
            config = chart.named(objects, "ConfigMap", "-config")["data"]
            for name, pod in chart.pods(objects):
                role = name.rsplit("-", 1)[-1]
                if role not in chart.ROLES:
                    continue
                container, = pod["containers"]
                before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
                drain = int(re.search(r'drain = "(\d+)s"', config[f"{role}.toml"])[1])
                self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], before + 2 * drain + 5, name)

    @unittest.skipUnless(binary.PATH, binary.MISSING)
    def test_the_binary_takes_the_settings(self):
        for values, objects in self.each():
            config = chart.named(objects, "ConfigMap", "-config")["data"]
            ip = "fd00::7" if values == "single" else "10.1.2.3"
            for name, pod in chart.pods(objects):
                role = name.rsplit("-", 1)[-1]
                if role not in chart.ROLES:
                    continue
                environment = {entry["name"]: entry.get("value", ip).replace("$(POD_IP)", ip)
                               .replace("$(POD_NAME)", "pod-0") for entry in pod["containers"][0].get("env", [])}
                self.assertEqual("POSTINO__LISTEN__ADMIN" in environment, role in ("store", "routing", "queue"))
                with tempfile.NamedTemporaryFile("w", suffix=".toml") as file, self.subTest(role=role):
                    file.write(config[f"{role}.toml"])
                    file.flush()
                    binary.run("config", "check", "--config", file.name, environment=environment)

    def test_a_setting_restarts_the_pods_that_read_it(self):
        def stamps(config):
            objects = chart.objects(chart.template(chart.merged(chart.LEAST, {"config": config})))
            return {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
                    for one in objects if one["kind"] in ("StatefulSet", "Deployment")}

        before = stamps({})
        for config, roles in (
            ({"ingress": {"max_errors": 5}}, {"ingress"}),
            ({"store": {"mailbox_limit": 100}}, {"store"}),
            ({"auth": {"scram": False}}, {"store", "ingress", "access"}),
            ({"net": {"per_address": 10}}, set(chart.ROLES)),
        ):
            after = stamps(config)
            changed = {name.rsplit("-", 1)[-1] for name in after if after[name] != before[name]}
            self.assertEqual(changed, roles, config)

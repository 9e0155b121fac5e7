"""deploy/'s systemd unit and compose.yaml, as far as they can be checked without running them."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import yaml

import binary
import chart
import test_monitoring

DEPLOY = f"{chart.TOP}/deploy"
ANALYZE = shutil.which("systemd-analyze")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


class Unit(unittest.TestCase):
    def setUp(self):
        with open(f"{DEPLOY}/postino.service") as file:
            self.text = file.read()

    @unittest.skipUnless(ANALYZE, "there is no systemd-analyze")
    def test_systemd_takes_it_and_finds_it_closed(self):
        with tempfile.TemporaryDirectory() as scratch:
            path = f"{scratch}/postino.service"
            with open(path, "w") as file:
                # It looks for the program.
                file.write(self.text.replace("/usr/local/bin/postino", "/bin/true"))
            self.assertEqual(run(ANALYZE, "verify", "--man=no", path), (0, ""))
            # Of 100. What is left: the network, which it is for, and ports below 1024.
            code, said = run(ANALYZE, "security", "--offline=yes", "--no-pager", "--threshold=16", path)
            self.assertEqual(code, 0, said)

    def test_it_has_time_to_stop(self):
        drain = 20
        if binary.PATH:
            drain = int(re.search(r'(?m)^drain = "(\d+)s"', binary.run("config", "default"))[1])
        self.assertGreaterEqual(int(re.search(r"(?m)^TimeoutStopSec=(\d+)$", self.text)[1]), 3 * drain + 10)

    @unittest.skipUnless(binary.PATH, binary.MISSING)
    def test_its_example_is_good(self):
        example = "\n".join(re.findall(r"(?m)^#   (\[\w+\]|\w+ = .*)$", self.text))
        self.assertIn("[routing]", example)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(example)
            file.flush()
            binary.run("config", "check", "--config", file.name)


class Compose(unittest.TestCase):
    path = f"{DEPLOY}/compose.yaml"

    def setUp(self):
        with open(self.path) as file:
            self.compose = yaml.safe_load(file)

    def content(self, name):
        return self.compose["configs"][name]["content"]

    def test_it_is_a_compose_file(self):
        check = os.path.join(os.path.dirname(sys.executable), "check-jsonschema")
        code, said = run(sys.executable, check, "--builtin-schema", "vendor.compose-spec", self.path)
        self.assertEqual(code, 0, said)

    def test_all_that_is_named_is_there(self):
        for name, service in self.compose["services"].items():
            with self.subTest(service=name):
                self.assertLessEqual({one["source"] for one in service.get("configs", [])}, set(self.compose["configs"]))
                self.assertLessEqual(set(service["networks"]), set(self.compose["networks"]))
                self.assertLessEqual(set(service.get("depends_on", [])), set(self.compose["services"]))
                self.assertLessEqual({one.split(":")[0] for one in service.get("volumes", [])}, set(self.compose["volumes"]))
        for name, config in self.compose["configs"].items():
            if "file" in config:
                self.assertTrue(os.path.exists(os.path.join(DEPLOY, config["file"])), name)

    def test_nothing_is_published_beyond_loopback_and_nothing_twice(self):
        published = [port for service in self.compose["services"].values() for port in service.get("ports", [])]
        self.assertTrue(all(port.startswith("127.0.0.1:") for port in published), published)
        self.assertEqual(len({port.rsplit(":", 1)[0] for port in published}), len(published))
        self.assertFalse([port for port in published if port.endswith(":2090")])

    def test_the_nodes_differ_by_their_address_only(self):
        services = self.compose["services"]
        endpoints = []
        for name in ("node-1", "node-2", "node-3"):
            address = services[name]["networks"]["nodes"]["ipv4_address"]
            self.assertEqual(services[name]["environment"], {"POSTINO__LISTEN__ADMIN": f"{address}:2090"})
            endpoints.append(f"http://{address}:2090")
        self.assertEqual(services["cluster-init"]["command"], ["cluster", "init", "--endpoint", *endpoints])
        for endpoint in endpoints:
            self.assertIn(f'"{endpoint}"', self.content("settings"))

    def test_the_image_is_the_chart_s(self):
        with open(f"{chart.CHART}/Chart.yaml") as file:
            version = yaml.safe_load(file)["appVersion"]
        own = {s["image"] for s in self.compose["services"].values() if s["image"].startswith("localhost/")}
        self.assertEqual(own, {f"localhost/postino:{version}"})

    @unittest.skipUnless(binary.PATH, binary.MISSING)
    def test_the_binary_takes_the_settings(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(self.content("settings"))
            file.flush()
            for name in ("node-1", "node-2", "node-3"):
                environment = self.compose["services"][name]["environment"]
                binary.run("config", "check", "--config", file.name, environment=environment)

    @unittest.skipUnless(test_monitoring.PROMTOOL, "there is no promtool: deploy/packages.sh test")
    def test_prometheus_takes_its_settings(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write(self.content("prometheus"))
            file.flush()
            code, said = test_monitoring.promtool("check", "config", file.name)
        self.assertEqual(code, 0, said)

    def test_jaeger_is_set_as_in_the_chart(self):
        objects = chart.objects(chart.template(chart.merged(chart.LEAST, {"jaeger": {"enabled": True}})))
        chart_s = chart.named(objects, "ConfigMap", "-jaeger")["data"]["jaeger.yaml"]
        self.assertEqual(yaml.safe_load(self.content("jaeger")), yaml.safe_load(chart_s))

    def test_grafana_s_files_are_yaml(self):
        for name in ("grafana-datasources", "grafana-dashboards"):
            self.assertEqual(yaml.safe_load(self.content(name))["apiVersion"], 1)

"""Alerts fire when they should and not otherwise; alerts and dashboard ask for metrics that exist."""
import json
import os
import re
import subprocess
import tempfile
import unittest

import yaml

import chart

# As Grafana would fill them in.
VARIABLES = {"$namespace": ".*", "$__rate_interval": "5m"}
PROMTOOL = os.environ["PROMTOOL"]


def promtool(*arguments):
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def write(directory, name, what):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        yaml.safe_dump(what, file)
    return path


def rules():
    """The rules of the chart's PrometheusRule."""
    objects = chart.objects(chart.template(chart.merged(chart.LEAST, {"prometheusRule": {"enabled": True}})))
    return chart.named(objects, "PrometheusRule", "mail-postino")["spec"]


def queries():
    """(title, expression) of everything that the dashboard draws."""
    with open(f"{chart.CHART}/files/dashboard.json") as file:
        panels = json.load(file)["panels"]
    for panel in panels:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression


def declared():
    """The metrics that the sources register, as /metrics names them."""
    found = set()
    services = f"{chart.TOP}/services"
    for directory, _, names in os.walk(services):
        for name in names:
            if not name.endswith(".rs"):
                continue
            with open(os.path.join(directory, name)) as file:
                source = file.read()
            role = os.path.relpath(directory, services).split(os.sep)[0]
            if "metrics" in name:
                found |= {f"postino_{role}_{text}" for text in re.findall(r'"([a-z0-9_]+)"', source)}
            found |= set(re.findall(r'"(postino_[a-z0-9_]+)"', source))
    return found


class Monitoring(unittest.TestCase):
    @unittest.skipUnless(PROMTOOL, "there is no promtool: deploy/packages.sh test")
    def test_the_alerts_are_rules_and_fire_when_they_should(self):
        with tempfile.TemporaryDirectory() as scratch:
            path = write(scratch, "alerts.yaml", rules())
            code, said = promtool("check", "rules", "--lint=all", "--lint-fatal", path)
            self.assertEqual(code, 0, said)
            with open(f"{chart.HERE}/alerts.test.yaml") as file:
                tests = yaml.safe_load(file)
            tests["rule_files"] = [path]
            code, said = promtool("test", "rules", write(scratch, "tests.yaml", tests))
            self.assertEqual(code, 0, said)

    def test_every_alert_is_tested_to_fire(self):
        with open(f"{chart.HERE}/alerts.test.yaml") as file:
            tests = yaml.safe_load(file)["tests"]
        fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
        self.assertEqual(fired, {rule["alert"] for group in rules()["groups"] for rule in group["rules"]})

    @unittest.skipUnless(PROMTOOL, "there is no promtool: deploy/packages.sh test")
    def test_the_dashboard_asks_what_prometheus_understands(self):
        group = {"name": "dashboard", "rules": [
            {"record": f"panel:{number}", "expr": expression} for number, (_, expression) in enumerate(queries())]}
        with tempfile.TemporaryDirectory() as scratch:
            code, said = promtool("check", "rules", write(scratch, "dashboard.yaml", {"groups": [group]}))
        self.assertEqual(code, 0, said)

    def test_metrics_that_are_asked_for_exist(self):
        known = declared()
        asked = [(rule["alert"], rule["expr"]) for group in rules()["groups"] for rule in group["rules"]]
        for where, expression in [*asked, *queries()]:
            for metric in re.findall(r"postino_[a-z0-9_]+", expression):
                with self.subTest(where=where, metric=metric):
                    self.assertIn(re.sub(r"_(total|bucket)$", "", metric), known)

"""The scripts that pods run: what they decide, told by a postino that plays the answers; and all of it
for real, with the rendered settings, where the binary is built."""
import imaplib
import json
import os
import poplib
import re
import smtplib
import subprocess
import tempfile
import unittest

import binary
import chart
import processes
import test_monitoring

# Answers `cluster status --json` of each endpoint from a file of its name, and notes any other call.
PLAYED = """#!/usr/bin/env bash
[ "$1 $2 $3" = "cluster status --json" ] || { echo "$*" >>"$PLAY/calls"; exit; }
cat "$PLAY/$5" 2>/dev/null
"""


def member(cluster, node, leaders=("a", "a"), halted=""):
    """What a node of a cluster answers. Its groups are led by the nodes at these endpoints."""
    groups = [{"applied_index": 5, "halted": halted, "last_index": 5, "leader": leader, "learners": [],
               "shard": shard, "term": 1, "voters": [1, 2]} for shard, leader in enumerate(leaders)]
    return printed({"groups": groups, "identity": {"cluster": cluster, "mail_shards": 1, "node": node}})


def printed(answer):
    """As the command prints it."""
    return json.dumps(answer, indent=2) + "\n"


# Of a store that belongs to no cluster.
NOWHERE = printed({"groups": [], "identity": None})


def script(name, path, **environment):
    return subprocess.run(["bash", f"{chart.CHART}/files/{name}.sh"], capture_output=True, text=True, timeout=120,
                          env={"PATH": f"{path}:{os.environ['PATH']}", **environment})


class Played(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name
        with open(f"{self.scratch}/postino", "w") as file:
            file.write(PLAYED)
        os.chmod(f"{self.scratch}/postino", 0o755)

    def run_script(self, name, answers, **environment):
        for store, answer in answers.items():
            with open(f"{self.scratch}/{store}", "w") as file:
                file.write(answer)
        done = script(name, self.scratch, PLAY=self.scratch, STORES=" ".join(answers), **environment)
        try:
            with open(f"{self.scratch}/calls") as file:
                return done, file.read().strip()
        except FileNotFoundError:
            return done, ""

    def cluster_init(self, answers, found="yes"):
        return self.run_script("cluster-init", answers, SHARDS="64", FOUND=found)

    def test_stores_without_a_cluster_become_one(self):
        _, calls = self.cluster_init({"a": NOWHERE, "b": NOWHERE, "c": NOWHERE})
        self.assertEqual(calls, "cluster init --shards 64 --endpoint a b c")

    def test_no_cluster_is_made_where_there_was_one(self):
        done, calls = self.cluster_init({"a": NOWHERE, "b": NOWHERE}, found="no")
        self.assertEqual((done.returncode, calls), (1, ""))
        self.assertIn("have the volumes been lost?", done.stderr)

    def test_new_stores_join(self):
        answers = {"a": member("c1", 1), "b": member("c1", 2), "c": NOWHERE, "d": NOWHERE}
        _, calls = self.cluster_init(answers, found="no")
        self.assertEqual(calls, "cluster join --endpoint c b\ncluster join --endpoint d b")

    def test_a_first_store_that_lost_its_disk_founds_nothing(self):
        answers = {"a": NOWHERE, "b": member("c1", 2), "c": member("c1", 3)}
        _, calls = self.cluster_init(answers)
        self.assertEqual(calls, "cluster join --endpoint a c")

    def test_two_clusters_are_not_made_one(self):
        done, calls = self.cluster_init({"a": member("c1", 1), "b": member("c2", 1)})
        self.assertEqual((done.returncode, calls), (1, ""))
        self.assertIn("different clusters: c1 and c2 (b)", done.stderr)

    def check(self, answers):
        done, _ = self.run_script("check", answers)
        return done.returncode, done.stdout

    def test_a_healthy_cluster_passes(self):
        self.assertEqual(self.check({"a": member("c1", 1), "b": member("c1", 2)}), (0, "ok: a\nok: b\n"))

    def test_what_is_not_healthy_is_said(self):
        for wrong, says in {
            NOWHERE: "b belongs to no cluster",
            member("c2", 1): "b belongs to another cluster than the stores before it",
            member("c1", 2, ("a", None)): "b knows no leader of some shard",
            member("c1", 2, halted="disk full"): "b has a group that has stopped",
        }.items():
            with self.subTest(says=says):
                self.assertEqual(self.check({"a": member("c1", 1), "b": wrong}), (1, f"ok: a\nFAILED: {says}\n"))


@unittest.skipUnless(binary.PATH, binary.MISSING)
class Real(unittest.TestCase):
    """The tiers of the chart as processes, with the settings of a set of values."""

    def setUp(self):
        values = chart.merged(chart.LEAST, {"cluster": {"shards": 4}, "drainSeconds": 5})
        objects = chart.objects(chart.template(values))
        self.processes = processes.Processes(chart.named(objects, "ConfigMap", "-config")["data"], stores=5)
        self.addCleanup(self.processes.close)
        os.symlink(binary.PATH, f"{self.processes.scratch.name}/postino")

    def script(self, name, **environment):
        done = script(name, self.processes.scratch.name, **environment)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def all_ready(self):
        for name in self.processes.running:
            processes.until(f"{name} is ready", lambda: self.processes.get(name, "/readyz")[0] == 200)

    def test_the_chart_runs(self):
        these = self.processes
        for number in range(3):
            these.start("store", number)
        for role in ("routing", "queue", "ingress", "access"):
            these.start(role)
        # Alive without a cluster, or the liveness probe would end it; ready only with one.
        self.assertEqual(these.get("store-0", "/healthz")[0], 200)
        self.assertEqual(these.get("store-0", "/readyz")[0], 503)

        three = " ".join(these.stores[:3])
        self.script("cluster-init", STORES=three, SHARDS="4", FOUND="yes")
        self.all_ready()
        # As a Job that is started twice.
        self.script("cluster-init", STORES=three, SHARDS="4", FOUND="yes")

        greets = [f"smtp={these.address('ingress-0', 'smtp')}=220_mail.example.org",
                  f"submission={these.address('ingress-0', 'submission')}=220_mail.example.org",
                  f"imap={these.address('access-0', 'imap')}=*_OK", f"pop3={these.address('access-0', 'pop3')}=+OK"]
        said = self.script("check", STORES=three, GREETS=" ".join(greets))
        self.assertEqual(said.count("ok: "), 7, said)

        for number in (3, 4):
            these.start("store", number)
        self.script("cluster-init", STORES=" ".join(these.stores), SHARDS="4", FOUND="no")
        self.all_ready()
        self.script("check", STORES=" ".join(these.stores))

        self.a_letter_arrives()
        self.metrics_exist()
        self.assertEqual(set(these.stop().values()), {0})

    def postino(self, *arguments, says=""):
        """An administrative command, as by `kubectl exec` in the last store's pod."""
        done = subprocess.run([binary.PATH, *arguments, "--data", f"{self.processes.scratch.name}/store-4"], env={},
                              input=says, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)

    def a_letter_arrives(self):
        """As the notes say it: a domain, an account; then a letter out of it: into it, and elsewhere."""
        user, password = "you@example.org", "correct horse"
        recipients = [user, f"them@{processes.ELSEWHERE}"]
        self.postino("domain", "add", "example.org")
        self.postino("account", "add", user, "--password-stdin", says=f"{password}\n")

        def at(name, listener):
            host, port = self.processes.address(name, listener).rsplit(":", 1)
            return host, int(port)

        with smtplib.SMTP(*at("ingress-0", "submission"), timeout=60) as smtp:
            smtp.login(user, password)
            smtp.sendmail(user, recipients, f"From: {user}\r\nTo: {user}\r\nSubject: in the cluster\r\n\r\nHello.\r\n")

        def there():
            pop3 = poplib.POP3(*at("access-0", "pop3"), timeout=60)
            try:
                pop3.user(user)
                pop3.pass_(password)
                return pop3.stat()[0]
            finally:
                pop3.quit()

        processes.until("the letter is there", there)
        with imaplib.IMAP4(*at("access-0", "imap"), timeout=60) as imap:
            imap.login(user, password)
            imap.select()
            self.assertEqual(imap.search(None, "SUBJECT", '"in the cluster"'), ("OK", [b"1"]))

    def metrics_exist(self):
        """Those that the alerts and the dashboard ask for; each has something to tell by now."""
        asked = [rule["expr"] for group in test_monitoring.rules()["groups"] for rule in group["rules"]]
        asked += [expression for _, expression in test_monitoring.queries()]
        asked = {re.sub(r"_(total|bucket)$", "", metric) for expression in asked
                 for metric in re.findall(r"postino_[a-z0-9_]+", expression)}

        def missing():
            pages = [self.processes.get(name, "/metrics")[1] for name in self.processes.running]
            return asked - set(re.findall(r"(?m)^# TYPE (\S+)", "".join(pages)))

        # Not all is counted at once.
        processes.until(f"metrics are there: {missing()}", lambda: not missing())

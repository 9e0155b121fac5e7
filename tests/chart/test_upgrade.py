"""An upgrade that would harm the store that is there is refused; the Job that makes the cluster runs
when there is something to do."""
import copy
import unittest

import api
import chart


def installed(values=None):
    """The objects of an installation, as the API server shows them: numbers and names as it has them."""
    found = chart.objects(chart.template(chart.merged(chart.LEAST, values or {})))
    return [one for one in found if one["kind"] in ("StatefulSet", "ConfigMap", "Job")]


def upgrade(cluster, values):
    """The objects of an upgrade of what the cluster holds."""
    with api.serving(cluster) as flags:
        return chart.objects(chart.template(chart.merged(chart.LEAST, values), "--is-upgrade", *flags))


def jobs(objects):
    return [one for one in objects if one["kind"] == "Job"]


def founds(job):
    """What the Job says of FOUND."""
    environment, = (c["env"] for c in job["spec"]["template"]["spec"]["containers"])
    return next(entry["value"] for entry in environment if entry["name"] == "FOUND")


class Guards(unittest.TestCase):
    def refused(self, cluster, values, says):
        with self.assertRaises(chart.Refused) as refused:
            upgrade(cluster, values)
        self.assertIn(says, str(refused.exception))

    def test_an_upgrade_that_changes_nothing_is_fine(self):
        upgrade(installed(), {})

    def test_fewer_stores_are_refused(self):
        cluster = installed({"store": {"replicas": 5}})
        self.refused(cluster, {"store": {"replicas": 3}}, "store.replicas: 5 -> 3 is refused")
        self.refused(cluster, {"store": {"replicas": 1}}, "--set store.replicas=5")

    def test_fewer_stores_are_refused_while_the_set_is_made_anew(self):
        cluster = [one for one in installed({"store": {"replicas": 5}}) if one["kind"] != "StatefulSet"]
        self.refused(cluster, {"store": {"replicas": 3}}, "store.replicas: 5 -> 3 is refused")

    def test_a_set_that_was_scaled_by_hand_counts(self):
        cluster = installed()
        chart.named(cluster, "StatefulSet", "-store")["spec"]["replicas"] = 5
        self.refused(cluster, {}, "store.replicas: 5 -> 3 is refused")

    def test_another_number_of_shards_is_refused(self):
        for shards in (32, 128):
            self.refused(installed(), {"cluster": {"shards": shards}}, f"cluster.shards: 64 -> {shards} is refused")

    def test_volumes_do_not_change_unnoticed(self):
        persistence = lambda **values: {"store": {"persistence": values}}
        cluster = installed(persistence(storageClassName="fast"))
        same = persistence(storageClassName="fast")
        upgrade(cluster, same)
        self.refused(cluster, chart.merged(same, persistence(size="50Gi")), "persistence.size: 20Gi -> 50Gi")
        self.refused(cluster, persistence(storageClassName="slow"), '"fast" -> "slow" is refused')
        self.refused(cluster, chart.merged(same, persistence(accessModes=["ReadWriteOncePod"])), "accessModes")

    def test_another_release_of_that_name_is_not_ours(self):
        cluster = installed()
        chart.named(cluster, "StatefulSet", "-store")["spec"]["volumeClaimTemplates"] *= 2
        self.refused(cluster, {}, "it is not this chart's")

    def test_other_namespaces_are_none_of_our_business(self):
        cluster = installed({"store": {"replicas": 7}})
        for one in cluster:
            one["metadata"]["namespace"] = "elsewhere"
        upgrade(cluster, {})


class ClusterInit(unittest.TestCase):
    def test_the_first_installation_founds_a_cluster(self):
        job, = jobs(installed())
        self.assertEqual(founds(job), "yes")

    def test_nothing_to_do_nothing_done(self):
        cluster = installed()
        jobs(cluster)[0]["status"] = {"succeeded": 1}
        self.assertEqual(jobs(upgrade(cluster, {})), [])
        # Helm has removed the Job then.
        without = [one for one in cluster if one["kind"] != "Job"]
        self.assertEqual(jobs(upgrade(without, {})), [])

    def test_what_was_not_finished_is_repeated(self):
        cluster = installed()
        again, = jobs(upgrade(cluster, {}))
        self.assertEqual(founds(again), "yes")

    def test_new_stores_are_taken_in_and_no_second_cluster_is_made(self):
        cluster = installed()
        jobs(cluster)[0]["status"] = {"succeeded": 1}
        job, = jobs(upgrade(cluster, {"store": {"replicas": 5}}))
        self.assertEqual(founds(job), "no")
        stores = job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].split()
        self.assertEqual(len(stores), 5)

    def test_a_changed_job_has_another_name(self):
        """Kubernetes refuses to change the pod of a Job."""
        cluster = installed()
        again, = jobs(upgrade(cluster, {"cluster": {"initDeadlineSeconds": 120}}))
        self.assertNotEqual(again["metadata"]["name"], jobs(cluster)[0]["metadata"]["name"])

    def test_somebody_else_s_job_is_not_ours(self):
        cluster = installed()
        other = copy.deepcopy(jobs(cluster)[0])
        other["metadata"]["labels"]["app.kubernetes.io/instance"] = "other"
        cluster = [one for one in cluster if one["kind"] != "Job"] + [other]
        self.assertEqual(jobs(upgrade(cluster, {})), [])

    def test_it_can_be_switched_off(self):
        self.assertEqual(jobs(installed({"cluster": {"init": False}})), [])

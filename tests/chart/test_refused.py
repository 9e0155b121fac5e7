"""Values that are wrong are refused, and the refusal says why."""
import unittest

import yaml

import chart


class Refusals(unittest.TestCase):
    def test_wrong_values_are_refused(self):
        with open(f"{chart.HERE}/refused.yaml") as file:
            cases = yaml.safe_load(file)
        for case in cases:
            with self.subTest(**case):
                values = chart.merged({} if case.get("alone") else chart.LEAST, case["values"])
                with self.assertRaises(chart.Refused) as refused:
                    chart.template(values)
                self.assertIn(case["says"], str(refused.exception))

    def test_the_least_is_enough(self):
        chart.template(chart.LEAST)

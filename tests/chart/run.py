"""Runs the tests beside this file, and says how many passed."""
import os
import sys
import unittest

import golden

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    if os.environ.get("UPDATE"):
        golden.update()
    suite = unittest.defaultTestLoader.discover(HERE, pattern="test_*.py")
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)
    # Of a test with parts, several may have failed.
    failed = len({getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors})
    for test, why in result.skipped:
        print(f"NOT CHECKED: {test}: {why}")
    passed = result.testsRun - failed - len(result.skipped)
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed")
    return 1 if failed else 0


sys.exit(main())

"""The binary, where it is built."""
import os
import subprocess

PATH = os.environ["POSTINO_BIN"] if os.access(os.environ["POSTINO_BIN"], os.X_OK) else None
MISSING = f"there is no {os.environ['POSTINO_BIN']}"


def run(*arguments, environment=None):
    """What it prints; an error if it fails, with what it says."""
    done = subprocess.run([PATH, *arguments], capture_output=True, text=True, timeout=60,
                          env=environment or {})
    if done.returncode:
        raise AssertionError(f"{' '.join(arguments)}: {done.stderr}{done.stdout}")
    return done.stdout

"""Set up before any test module is imported."""

from __future__ import annotations

import os

from hypothesis import settings

# Each pytest worker and each process that a test starts computes on one thread: the suite runs a
# worker per core, and small models are slower on more threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Continuous integration tries the same examples every time; a developer's machine tries new ones.
# No example has a time limit: a busy machine must not decide whether a test passes.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

"""Set up before any test module is imported."""

from __future__ import annotations

import os

# Each pytest worker and each process that a test starts computes on one thread: the suite runs a
# worker per core, and small models are slower on more threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

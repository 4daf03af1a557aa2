"""`python -m trainer_core.cli`: the `trainer` command of this very interpreter."""

import sys

from trainer_core.cli import main

sys.exit(main())

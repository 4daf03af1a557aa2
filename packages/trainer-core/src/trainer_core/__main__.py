"""`python -m trainer_core`: the `trainer` command of this very interpreter."""

import sys

from trainer_core.cli import main

if __name__ == "__main__":
    sys.exit(main())

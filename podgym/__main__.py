"""``python -m podgym``: the same as the command ``podgym``."""

import sys

from podgym.cli import main

if __name__ == "__main__":
    sys.exit(main())

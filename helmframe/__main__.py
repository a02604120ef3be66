"""`python -m helmframe`."""

import sys

from helmframe.cli.app import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m worker.export.launch SCRIPT ARGS…`: run a foreign script so that it ends when its parent does."""

from __future__ import annotations

import runpy
import signal
import sys

from app.core.process import die_with_parent


def main() -> None:
    """Hand over to the script as if it had been started by itself."""
    die_with_parent(signal.SIGKILL)
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()

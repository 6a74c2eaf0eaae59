"""`python -m benchmarks [name …]`: run the benchmarks and print their tables."""

from __future__ import annotations

import sys

from benchmarks import audit, first_step, intake, rows, throughput, upload, web_start

ALL = {
    "web_start": web_start.main,
    "first_step": first_step.main,
    "throughput": throughput.main,
    "upload": upload.main,
    "intake": intake.main,
    "audit": audit.main,
    "rows": rows.main,
}


def main() -> int:
    """Run those named, or all."""
    names = sys.argv[1:] or list(ALL)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"No benchmark is called {', '.join(unknown)}. There are: {', '.join(ALL)}.")
        return 2
    for name in names:
        print(f"== {name}")
        ALL[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())

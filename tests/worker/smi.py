"""An nvidia-smi of invented cards, to be put on PATH."""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = """#!{python}
import sys
fields = next(word for word in sys.argv if word.startswith("--query-gpu=")).partition("=")[2].split(",")
if "compute_cap" in fields and {old}:
    sys.exit('Field "compute_cap" is not a valid field to query.')
for card in {cards!r}:
    print(", ".join(card[field] for field in fields))
"""


def invent(folder: Path, count: int, mib: int = 24_576, *, old: bool = False) -> Path:
    """The folder with the program, for PATH. `old`: a driver that does not know compute_cap."""
    same = {"name": "Card", "memory.total": str(mib), "memory.used": "512", "utilization.gpu": "[N/A]"}
    cards = [same | {"index": str(n), "uuid": f"GPU-{n}{n}aa", "compute_cap": "8.6"} for n in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text(_PROGRAM.format(python=sys.executable, cards=cards, old=old))
    program.chmod(0o755)
    return folder

"""The NVIDIA devices of this host, as nvidia-smi tells, and those of them that a process may see."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

#: CUDA's own variable: numbers or UUIDs of the devices that a process may see, in its order.
VISIBLE = "CUDA_VISIBLE_DEVICES"
#: Numbers mean what nvidia-smi means by them only with this; by itself CUDA counts the fastest first.
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
_FIELDS = ("index", "name", "memory.total", "memory.used", "utilization.gpu", "uuid", "compute_cap")
#: Drivers before 470 do not know the last one and then tell nothing at all.
_OLD_FIELDS = _FIELDS[:-1]


def all_gpus() -> list[dict[str, Any]]:
    """Devices with memory in bytes and compute capability such as "8.6"; none without nvidia-smi."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        lines = _ask(tool, _FIELDS) or _ask(tool, _OLD_FIELDS)
    except (OSError, subprocess.SubprocessError) as exc:
        log.warning("nvidia-smi does not answer: %s", exc)
        return []
    rows = [line.split(", ") for line in lines]
    return [_gpu(cells) for cells in rows if len(cells) in {len(_FIELDS), len(_OLD_FIELDS)}]


def _ask(tool: str, fields: tuple[str, ...]) -> list[str]:
    command = [tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def _gpu(cells: list[str]) -> dict[str, Any]:
    index, name, total, used, load, uuid, *rest = (cell.strip() for cell in cells)
    mib = 1024**2
    busy = float(load) if load.replace(".", "").isdigit() else None
    sizes = {"total": _whole(total) * mib, "used": _whole(used) * mib}
    capability = rest[0] if rest and rest[0].replace(".", "").isdigit() else ""
    return {"index": _whole(index), "name": name, **sizes, "load": busy, "uuid": uuid, "capability": capability}


def _whole(cell: str) -> int:
    """0 for what the card does not tell ("[N/A]")."""
    return int(cell) if cell.isdigit() else 0


def visible(environ: Mapping[str, str]) -> list[str] | None:
    """What `CUDA_VISIBLE_DEVICES` names; None when it is not set. As for CUDA, -1 ends the list."""
    if VISIBLE not in environ:
        return None
    names = [name.strip() for name in environ[VISIBLE].split(",")]
    ends = next((place for place, name in enumerate(names) if name in {"", "-1"}), len(names))
    return names[:ends]


def seen_gpus(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """The devices that a process with this environment may see, in its order."""
    found, names = all_gpus(), visible(environ)
    if names is None or not found:
        return found
    return [next((gpu for gpu in found if is_named(gpu, name)), _unknown(name)) for name in names]


def is_named(gpu: Mapping[str, Any], name: str) -> bool:
    """Whether `name`, a number or the start of a UUID, means this device."""
    return name == str(gpu["index"]) or (not name.isdigit() and str(gpu["uuid"]).startswith(name))


def _unknown(name: str) -> dict[str, Any]:
    """A part of a card (MIG), of which nvidia-smi's list tells nothing."""
    return {"index": 0, "name": name, "total": 0, "used": 0, "load": None, "uuid": name, "capability": ""}

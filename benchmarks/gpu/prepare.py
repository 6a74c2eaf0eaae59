"""`python -m benchmarks.gpu.prepare WORK`: unpack the small model that comes with the installation into WORK/smol."""

from __future__ import annotations

import sys
from pathlib import Path

from worker.child import Child
from worker.trainer.protocol import Control, Emitter
from worker.trainer.specs import ModelSpec
from worker.trainer.weights import BUNDLED_MODEL, resolve


def main(work: Path) -> None:
    """Once a machine."""
    work.mkdir(parents=True, exist_ok=True)
    child = Child(work, Emitter(work, None), Control(work), {})
    found = resolve(ModelSpec(base_model=BUNDLED_MODEL, model_cache=work / "models", offline=True), child)
    if not (work / "smol").exists():
        (work / "smol").symlink_to(found, target_is_directory=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())

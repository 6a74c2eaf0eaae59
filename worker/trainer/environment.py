"""Variables that the libraries read while they are imported: set them first. Imports none of those libraries."""

from __future__ import annotations

import os
import sys


def set_environment(threads: int) -> None:
    """What the libraries read while they are imported. Values that are already set stay."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    free = min(cores, max(2, cores - 1))  # one is left to the others, but with two cores both are a third faster
    defaults = {
        # Spinning threads make a step take seconds instead of milliseconds on a machine that does something else too.
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": str(threads or free),
        # Whether there is a GPU is asked before it is settled which ones this process may see.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def see_gpus(count: int) -> None:
    """Of the GPUs that may be seen only the first `count`: with more in sight the trainer would split each batch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible is not None else [str(number) for number in range(count)]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[:count])

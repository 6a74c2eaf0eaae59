"""From an exception of the libraries to a class and a sentence that a person can act on."""

from __future__ import annotations

import errno

from worker.child import JobError
from worker.trainer import foreign_code

_SMALLER = (
    "Halve the batch size and double the gradient accumulation steps: the effective batch stays the same. "
    "If that is not enough, shorten the maximum sequence length, load in 4 bits, or choose a smaller model."
)


def explain(exc: BaseException) -> JobError | None:
    """A `JobError` for a failure that is known, else None. Looks through the causes too."""
    seen: BaseException | None = exc
    while seen is not None:
        known = seen if isinstance(seen, JobError) else _known(seen)
        if known:
            return known
        seen = seen.__cause__ or seen.__context__
    return None


def _known(exc: BaseException) -> JobError | None:
    text = str(exc)
    if _out_of_memory(exc, text):
        return JobError("out_of_memory", "There was not enough memory for a training step.", _SMALLER)
    if (isinstance(exc, OSError) and exc.errno in {errno.ENOSPC, errno.EDQUOT}) or "No space left on device" in text:
        return JobError(
            "disk_full",
            "The disk is full: a file could not be written.",
            "Free some space on this worker (old checkpoints, unused models), then go on from the last checkpoint.",
        )
    if "trust_remote_code" in text or "execute the configuration file" in text:
        return JobError(
            "not_supported",
            f"This model {foreign_code.NEEDED}",
            foreign_code.ADVICE,
        )
    if "model type" in text and "does not recognize this architecture" in text:
        return JobError(
            "not_supported",
            "The installed transformers library does not know this model's architecture.",
            "Choose another model, or update Tunedeck's training libraries.",
        )
    if "Target modules" in text and "not found in the base model" in text:
        return JobError(
            "not_supported",
            "The model has none of the modules that LoRA was told to adapt.",
            "Change the target modules in the advanced settings to names that this model has.",
        )
    return None


def _out_of_memory(exc: BaseException, text: str) -> bool:
    if isinstance(exc, MemoryError) or (
        type(exc).__name__ in {"OutOfMemoryError", "AcceleratorError"} and "memory" in text
    ):
        return True
    return isinstance(exc, RuntimeError) and any(
        sign in text for sign in ("out of memory", "DefaultCPUAllocator: can't allocate", "CUBLAS_STATUS_ALLOC_FAILED")
    )

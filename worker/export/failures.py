"""What a failure of the system means to the person who waits for an export."""

from __future__ import annotations

import errno

from worker.child import JobError


def explain(exc: BaseException) -> JobError | None:
    """A known failure in words, or None."""
    if isinstance(exc, OSError) and exc.errno in {errno.ENOSPC, errno.EDQUOT}:
        return JobError("disk_full", "The disk is full.", "Free some space on the worker and start the export again.")
    if isinstance(exc, MemoryError) or "can't allocate memory" in str(exc):
        return JobError(
            "out_of_memory",
            "The worker's memory is too small to merge this model.",
            "Close other programs or export on a worker with more memory; the adapter can be taken away as it is.",
        )
    return None

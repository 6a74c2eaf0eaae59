"""A 16-bit GGUF -> a smaller one: by a real libllama where the worker has one, else by the portable quantiser."""

from __future__ import annotations

import re
from pathlib import Path

from worker.child import Child, JobError
from worker.export import tool
from worker.export.quantise_policy import KINDS, REFUSED

_STEP = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]")


def quantise(child: Child, source: Path, target: Path, kind: str, llama_cpp_dir: str, threads: int) -> str:
    """Write `target` and say what did it. Raises `JobError`."""
    ftype = str(KINDS[kind][0])
    if llama_cpp_dir:
        argv = tool.command(
            "worker.export.quantise_libllama", llama_cpp_dir, source, target, ftype, str(max(1, threads))
        )
        by = "llama.cpp (libllama)"
    else:
        argv = tool.command("worker.export.quantise_portable", source, target, kind)
        by = "ggml through the portable quantiser"
    progress = tool.Progress(child, "quantising", "tensors")

    def tell(line: str) -> None:
        if found := _STEP.match(line):
            progress.to(int(found[1]), int(found[2]))

    env = tool.environment(tool.scratch(child), threads)
    try:
        tool.run(child, argv, env=env, cwd=tool.scratch(child), on_line=tell)
    except tool.ToolFailed as failed:
        raise _explain(failed, kind, by) from failed
    return by


def _explain(failed: tool.ToolFailed, kind: str, by: str) -> JobError:
    words = (failed.output.splitlines() or [f"code {failed.code}"])[-1][:500]
    if failed.code == REFUSED and "portable" in by:
        return JobError(
            "not_supported",
            f"This model can't be made {kind} without llama.cpp on the worker: {words}.",
            "Choose f16, bf16 or q8_0, or set the folder of a llama.cpp build in the worker's settings.",
        )
    if "No space left" in failed.output:
        return JobError(
            "disk_full", "The disk was full while the GGUF was quantised.", "Free some space and try again."
        )
    return JobError("not_supported", f"Quantising to {kind} by {by} failed: “{words}”.", "Choose f16 or q8_0 instead.")

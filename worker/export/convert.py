"""Hugging Face folder -> GGUF in 16 bit or q8_0, by llama.cpp's own converter in a process of its own."""

from __future__ import annotations

import re
from pathlib import Path

from worker.child import Child, JobError
from worker.export import tool

SCRIPT = "convert_hf_to_gguf.py"
#: What the converter writes by itself; everything else goes through the quantiser.
OUTTYPES = ("f16", "bf16", "q8_0")

_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_WRITING = re.compile(r"Writing:.*?\|\s*([\d.]+)([kMGT]?)/([\d.]+)([kMGT]?)")
_INSTALL = "Run `python scripts/fetch_converter.py` on the worker once; it needs the package registry, not the Hub."
_OTHER_WAY = "The adapter and the merged 16-bit model can still be taken away; transformers and vLLM run both."


def convert(child: Child, merged: Path, out: Path, outtype: str, converter: Path) -> None:
    """Write `out`. Raises `JobError` in the converter's own words when it can't."""
    script = converter / SCRIPT
    if not script.is_file():
        raise JobError("not_supported", f"llama.cpp's converter is not in {converter}.", _INSTALL)
    progress = tool.Progress(child, "converting", "bytes")
    argv = tool.command("worker.export.launch", script, merged, "--outtype", outtype, "--outfile", out)
    scratch = tool.scratch(child)
    env = tool.environment(scratch, 1, (converter / "gguf-py", converter))
    try:
        tool.run(child, argv, env=env, cwd=scratch, on_line=lambda line: _tell(line, progress))
    except tool.ToolFailed as failed:
        raise explain(failed.output) from failed


def _tell(line: str, progress: tool.Progress) -> None:
    if found := _WRITING.search(line):
        done, done_unit, total, total_unit = found.groups()
        progress.to(float(done) * _UNITS[done_unit], float(total) * _UNITS[total_unit])


def explain(output: str) -> JobError:
    """The converter's failure in a sentence for the person."""
    if "pre-tokenizer was not recognized" in output:
        found = re.search(r"chkhsh:\s*([0-9a-f]{8,})", output)
        mark = f" (its fingerprint is {found[1][:16]}…)" if found else ""
        return JobError(
            "not_supported",
            f"llama.cpp's converter does not know this model's tokenizer{mark}: "
            "“BPE pre-tokenizer was not recognized”. Usually the base model is newer than the converter, "
            "or its tokenizer was changed.",
            _OTHER_WAY,
        )
    for pattern in (r"Model (\S+) is not supported", r"Architecture '(\S+)' not supported"):
        if found := re.search(pattern, output):
            return JobError(
                "not_supported", f"llama.cpp's converter can't write a {found[1]}: “{found[0]}”.", _OTHER_WAY
            )
    if "No space left on device" in output:
        return JobError("disk_full", "The disk was full while the GGUF was written.", "Free some space and try again.")
    words = last_error(output)
    return JobError("not_supported", f"llama.cpp's converter could not convert this model: “{words}”.", _OTHER_WAY)


def last_error(output: str) -> str:
    """The last line that names an error, else the last line."""
    lines = [line for line in output.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception)\b|.*\bERROR\b", line)]
    return (named or lines or ["it ended without a word"])[-1][:500]

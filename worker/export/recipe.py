"""One artifact out of a finished adapter, top to bottom: merge, convert, quantise, prove, hand out."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from worker.child import Child, JobError
from worker.export import ollama, tool
from worker.export.convert import OUTTYPES, convert
from worker.export.files import Manifest, finish_file, manifest_of, need_space, sha256_of, write_text
from worker.export.merge import ADAPTER_WEIGHTS, merged_model
from worker.export.proof import prove
from worker.export.quantise import quantise
from worker.export.quantise_policy import KINDS
from worker.trainer.protocol import Artifact
from worker.trainer.specs import ExportSpec
from worker.trainer.weights import resolve

#: Every kind of GGUF that can be asked for.
QUANTS = tuple(dict.fromkeys((*OUTTYPES, *KINDS)))


def export(child: Child, spec: ExportSpec) -> None:
    """Make what `spec` asks for. Raises `JobError` with a sentence for the person."""
    child.events.phase("preparing")
    _check(spec)
    base = resolve(spec.model, child)
    child.seclude()
    manifest = merged_model(child, spec, base)
    if spec.artifact == "merged":
        _hand_out_merged(child, spec, manifest)
        return
    try:
        _make_gguf(child, spec, manifest)
    finally:
        shutil.rmtree(tool.scratch(child))


def _check(spec: ExportSpec) -> None:
    if not all((spec.adapter / name).is_file() for name in ("adapter_config.json", ADAPTER_WEIGHTS)):
        raise JobError(
            "bad_data", f"There is no adapter in {spec.adapter}.", "Only a finished training can be exported."
        )
    if spec.artifact == "gguf" and spec.quant not in QUANTS:
        raise JobError(
            "not_supported", f"“{spec.quant}” is no kind of GGUF made here.", f"Choose one of {', '.join(QUANTS)}."
        )


def _hand_out_merged(child: Child, spec: ExportSpec, manifest: Manifest) -> None:
    child.events.emit(
        Artifact(
            artifact="merged",
            path=_relative(spec.merged, child),
            size=manifest.size,
            sha256=manifest.sha256,
            proof=manifest.proof,
        )
    )


def _make_gguf(child: Child, spec: ExportSpec, manifest: Manifest) -> None:
    """Everything is made in a scratch folder and only moved to `out` when it is proved."""
    spec.out.mkdir(parents=True, exist_ok=True)
    need_space(tool.scratch(child), manifest.size * (2 if spec.quant in KINDS else 1), "GGUF")
    name = file_name(spec)
    part = tool.scratch(child) / name
    made_by = _write(child, spec, part, manifest)
    proof = prove(child, spec, part, spec.merged)
    proof |= {"made_by": made_by, "merged": manifest.proof}
    child.events.phase("packing")
    final = spec.out / name
    size, digest = part.stat().st_size, sha256_of(part)
    _move(part, final)
    child.events.emit(
        Artifact(artifact="gguf", quant=spec.quant, path=_relative(final, child), size=size, sha256=digest, proof=proof)
    )
    _write_modelfiles(child, spec, final)


def file_name(spec: ExportSpec) -> str:
    """`name-Q4_K_M.gguf`: the ending that the Hub and Ollama read the kind from."""
    ending = spec.quant.upper()
    return f"{spec.name}.gguf" if spec.name.upper().endswith(ending) else f"{spec.name}-{ending}.gguf"


def _write(child: Child, spec: ExportSpec, part: Path, manifest: Manifest) -> str:
    if spec.quant in OUTTYPES:
        convert(child, spec.merged, part, spec.quant, spec.converter_dir)
        return "llama.cpp's converter"
    # Straight from the merged model's own 16 bits: nothing is rounded twice.
    exact = "f16" if manifest.proof.get("dtype") == "float16" else "bf16"
    whole = tool.scratch(child) / "whole.gguf"
    convert(child, spec.merged, whole, exact, spec.converter_dir)
    by = quantise(child, whole, part, spec.quant, spec.llama_cpp_dir, spec.threads)
    whole.unlink()
    return f"llama.cpp's converter, then {by}"


def _move(part: Path, final: Path) -> None:
    """Into `out` by a rename; across file systems by a copy that is renamed when whole."""
    try:
        finish_file(part, final)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        near = final.with_name(f".{final.name}.part")
        shutil.copyfile(part, near)
        finish_file(near, final)
        part.unlink()


def _write_modelfiles(child: Child, spec: ExportSpec, gguf: Path) -> None:
    """A folder with the Modelfile for Ollama, and one for Ollama older than 0.30 where a Go template can be derived."""
    texts = ollama.ollama_files(gguf)
    folder = gguf.with_name(gguf.name.removesuffix(".gguf") + "-modelfile")
    folder.mkdir(exist_ok=True)
    write_text(folder / "Modelfile", texts.modelfile)
    if texts.legacy is None:
        child.events.log("This chat template has no equal in Ollama's older language: use Ollama 0.30 or later.")
    else:
        write_text(folder / "Modelfile.legacy", texts.legacy)
    made = manifest_of(folder)
    child.events.emit(
        Artifact(
            artifact="modelfile", quant=spec.quant, path=_relative(folder, child), size=made.size, sha256=made.sha256
        )
    )


def _relative(path: Path, child: Child) -> str:
    return os.path.relpath(path, child.job_dir)

"""Whether the engines are right on this GPU: `python -m benchmarks.gpu.prove --work FOLDER [--only NAME …]`.

Each check is a fine-tune by the product's own trainer, and a sentence with the figures it found.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.answers import PARTS
from benchmarks.gpu.cells import ENGINES
from benchmarks.gpu.jobs import SAMPLES, Found, sample_job
from benchmarks.gpu.limits import out_of_memory, starts
from benchmarks.gpu.runs import ROOT, events_of, run
from benchmarks.gpu.several import several
from worker.trainer.protocol import Answer, Checkpoint, Error, Log, Metric, Score, write_control
from worker.trainer.specs import VALIDATION_ROWS, TrainSpec, read_spec, write_spec


def same_start(work: Path) -> Found:
    """Both engines, 16 and 4 bit, messages and reasoning rows: the same tokens and the same first losses."""

    def one(sample: str, load_in: str, engine: str) -> Found:
        folder = sample_job(work, "start", sample, engine=engine, load_in=load_in)
        found = _summary(run(folder)[0])
        keep_adapter(folder, work / "keep" / f"{sample}-{load_in}-{engine}")
        return found

    wanted = [(s, bits, engine) for s in SAMPLES for bits in ("none", "4bit") for engine in ENGINES]
    return dict(zip(map("-".join, wanted), together([partial(one, *words) for words in wanted]), strict=True))


def half_precision(work: Path) -> Found:
    """float16, as on cards without bfloat16: the same tokens and nearly the same losses as in bfloat16."""

    def one(engine: str, precision: str) -> Found:
        return _summary(run(sample_job(work, "half", "messages", engine=engine, precision=precision))[0])

    wanted = [(engine, precision) for engine in ENGINES for precision in ("fp16", "bf16")]
    return dict(zip(map("-".join, wanted), together([partial(one, *words) for words in wanted]), strict=True))


def together(tasks: list[Callable[[], Any]]) -> list[Any]:
    """All at once, each in a process of its own: nothing is timed here."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [waiting.result() for waiting in [pool.submit(task) for task in tasks]]


def _summary(events: list[Any]) -> Found:
    losses = [round(e.values["loss"], 4) for e in events if isinstance(e, Metric) and "loss" in e.values]
    return {
        "tokens": next((e.message for e in events if isinstance(e, Log) and "to train on" in e.message), ""),
        "losses": losses[:4] + losses[-1:],
        "eval": [round(e.values["eval_loss"], 4) for e in events if isinstance(e, Metric) and "eval_loss" in e.values],
        "reread": [f"{e.side} {e.value:.4f}" for e in events if isinstance(e, Score) and e.name == "answers_reread"],
        "answers": [f"{e.side} {e.text[:90]}" for e in events if isinstance(e, Answer)],
        "end": [e.message for e in events if isinstance(e, Error)] or type(events[-1]).__name__,
        "warnings": [e.message for e in events if isinstance(e, Log) and e.level != "info"],
        "network": [e.message for e in events if isinstance(e, Log) and "network" in e.message],
    }


def keep_adapter(folder: Path, where: Path) -> None:
    """Put the finished adapter aside."""
    if (folder / "adapter").exists():
        shutil.rmtree(where, ignore_errors=True)
        shutil.copytree(folder / "adapter", where)


def resumed(work: Path) -> Found:
    """Paused at a random step and gone on: the same curve as without a break, for both engines."""
    return dict(zip(ENGINES, together([partial(_resumed, work, engine) for engine in ENGINES]), strict=True))


def _resumed(work: Path, engine: str) -> Found:
    whole, _ = run(sample_job(work, "whole", "messages", engine=engine))
    first = sample_job(work, "paused", "messages", engine=engine)
    one, _ = _paused_at(first, random.Random(time.time_ns()).randint(5, 18))
    last = [event for event in one if isinstance(event, Checkpoint)][-1]
    second = sample_job(work, "resumed", "messages", engine=engine)
    write_spec(second, read_spec(second, TrainSpec).model_copy(update={"resume_from": first / last.path}))
    two, _ = run(second)
    straight, joined = _losses(whole), _losses(one) | _losses(two)
    return {
        "paused at": last.step,
        "steps": len(joined),
        "largest difference": max(abs(straight[step] - joined[step]) for step in joined),
        "last": [straight[max(straight)], joined[max(joined)]],
    }


def _losses(events: list[Any]) -> dict[int, float]:
    return {e.step: e.values["loss"] for e in events if isinstance(e, Metric) and "loss" in e.values}


def _paused_at(folder: Path, step: int) -> tuple[list[Any], float]:
    import threading

    def watch() -> None:
        while not any(isinstance(e, Metric) and e.step >= step for e in _readable(folder)):
            time.sleep(0.02)
        write_control(folder, "pause")

    threading.Thread(target=watch, daemon=True).start()
    return run(folder)


def _readable(folder: Path) -> list[Any]:
    try:
        return list(events_of(folder))
    except ValueError:  # a line half written
        return []


def packing(work: Path) -> Found:
    """One step over all rows, padded and packed: the same tokens are learned, so the first loss is the same."""

    def one(engine: str, *, packed: bool) -> Any:
        whole = {"per_device_train_batch_size": 128, "gradient_accumulation_steps": 1, "max_steps": 1}
        folder = sample_job(work, "packing", "messages", engine=engine, packing=packed, questions=[], **whole)
        (folder / VALIDATION_ROWS).write_text("")
        events, _ = run(folder)
        return list(_losses(events).values()) or _summary(events)

    wanted = [(engine, packed) for engine in ENGINES for packed in (False, True)]
    losses = together([partial(one, engine, packed=packed) for engine, packed in wanted])
    names = [f"{engine} {'packed' if packed else 'padded'}" for engine, packed in wanted]
    return dict(zip(names, losses, strict=True))


def true_answers(work: Path) -> Found:
    """Two hundred questions after a fine-tune, against a fresh load of the adapter that was saved."""
    parts = together([partial(_part, work, engine, part) for engine in ENGINES for part in range(PARTS)])
    return {engine: _joined(parts[n * PARTS : (n + 1) * PARTS]) for n, engine in enumerate(ENGINES)}


def _part(work: Path, engine: str, part: int) -> Any:
    settings = {"max_steps": 40, "eval_steps": 40, "save_steps": 40, "questions": []}
    folder = sample_job(work, f"answers-{part}", "messages", engine=engine, **settings)
    out, fresh = (work / f"answers-{engine}-{part}{word}.json" for word in ("", "-fresh"))
    _module("benchmarks.gpu.answers", "asked", str(folder), str(out), str(part))
    _module("benchmarks.gpu.answers", "fresh", str(folder), str(fresh), str(part), str(out))
    return json.loads(fresh.read_text())


def _joined(parts: list[Any]) -> Found:
    gaps = [gap for part in parts for gap in part["gaps"]]
    return {
        "answers": sum(part["answers"] for part in parts),
        "tokens": len(gaps),
        "equal tokens": sum(gap == 0 for gap in gaps) / len(gaps),
        "gaps where another token would be chosen, in nats": sorted(round(gap, 3) for gap in gaps if gap > 0),
    }


def _module(*words: str) -> None:
    result = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr[-3000:])


def adapters(work: Path) -> Found:
    """Sizes of what was kept, to be merged and turned into GGUF elsewhere."""
    return {f.parent.name: f.stat().st_size for f in sorted((work / "keep").rglob("adapter_model.safetensors"))}


CHECKS: dict[str, Callable[[Path], Found]] = {
    "same_start": same_start,
    "resumed": resumed,
    "packing": packing,
    "true_answers": true_answers,
    "out_of_memory": out_of_memory,
    "half_precision": half_precision,
    "starts": starts,
    "several": several,
    "adapters": adapters,
}


def main() -> int:
    """Run the checks asked for; print each one's figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.prove", description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(CHECKS))
    parser.add_argument("--results", type=Path, default=Path("gpu-proof.json"))
    wish = parser.parse_args()
    kept = json.loads(wish.results.read_text()) if wish.results.exists() else {}
    for name in wish.only:
        began = time.monotonic()
        try:
            kept[name] = CHECKS[name](wish.work)
        except Exception as exc:  # noqa: BLE001 - the other checks are worth having
            kept[name] = {"failed": f"{type(exc).__name__}: {exc}"[-3000:]}
        print(
            name, f"{time.monotonic() - began:.0f} s", json.dumps(kept[name], indent=1, ensure_ascii=False), flush=True
        )
        wish.results.write_text(json.dumps(kept, indent=1, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())

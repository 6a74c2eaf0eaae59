"""The export child from job.json to a proved file, with a real adapter, converter, quantiser and llama.cpp."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.domain.jobs.config import Question
from worker.child import Child, JobError
from worker.export import convert, files, llama_side
from worker.export.proof import _must_read_alike, verdict_of
from worker.export.reference import Prompt
from worker.seclusion import SECLUDE_ENV
from worker.trainer.protocol import write_control
from worker.trainer.specs import AskedQuestion, ExportSpec, ModelSpec, write_spec

ROOT = Path(__file__).resolve().parents[2]
ASKED = (
    AskedQuestion(question=Question(prompt="What is the capital of France?"), answer="Paris."),
    AskedQuestion(question=Question(prompt="Say 2024 in words.", system="You are brief.")),
)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one finished training: its exports share the merged model."""
    return tmp_path_factory.mktemp("runs")


def start(job_dir: Path, spec: ExportSpec) -> subprocess.Popen[str]:
    """The child as a person would start it by hand, but with no network, as the runner has it."""
    job_dir.mkdir(parents=True, exist_ok=True)
    write_spec(job_dir, spec)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", SECLUDE_ENV: "1"}
    command = [sys.executable, "-m", "worker.export", str(job_dir)]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(job_dir: Path, process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """All events once the child has ended."""
    output, _ = process.communicate(timeout=280)
    lines = (job_dir / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines, output
    return [json.loads(line) for line in lines]


@pytest.fixture
def spec(small_llama: Path, small_adapter: Path, converter: Path, runs: Path, tmp_path: Path) -> ExportSpec:
    """A q4_k_m of the small Llama through the portable quantiser."""
    return ExportSpec(
        model=ModelSpec(base_model=str(small_llama), model_cache=tmp_path / "cache", offline=True),
        adapter=small_adapter,
        artifact="gguf",
        quant="q4_k_m",
        merged=runs / "merged",
        name="small",
        asked=ASKED,
        converter_dir=converter,
        out=tmp_path / "out",
    )


@pytest.mark.slow
def test_a_gguf_is_made_proved_and_handed_out(spec: ExportSpec, tmp_path: Path) -> None:
    events = finished(tmp_path / "job", start(tmp_path / "job", spec))
    assert events[-1]["kind"] == "done", events[-1]
    made = [event for event in events if event["kind"] == "artifact"]
    assert [event["artifact"] for event in made] == ["gguf", "modelfile"]
    gguf = (tmp_path / "job" / made[0]["path"]).resolve()
    assert gguf == (tmp_path / "out" / "small-Q4_K_M.gguf").resolve()
    assert made[0]["size"] == gguf.stat().st_size
    assert made[0]["sha256"] == files.sha256_of(gguf)
    proof = made[0]["proof"]
    assert proof["template_equal"] is True
    assert proof["tokens_equal"] is True
    assert proof["verdict"] in {"same", "close"}
    assert proof["mean_kl"] < 0.05
    assert [answer["prompt"] for answer in proof["answers"]] == [one.question.prompt for one in ASKED]
    assert proof["merged"]["same_choice"] == 1.0
    phases = list(dict.fromkeys(event["phase"] for event in events if event["kind"] == "phase"))
    assert phases == ["preparing", "merging", "converting", "quantising", "proving", "packing"]
    modelfile = tmp_path / "out" / "small-Q4_K_M-modelfile" / "Modelfile"
    assert modelfile.read_text().startswith("FROM ./small-Q4_K_M.gguf\n")
    assert not (tmp_path / "job" / "scratch").exists()
    manifest = files.read_manifest(spec.merged)
    assert manifest is not None
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"} <= set(manifest.files)


@pytest.mark.slow
def test_cancelling_ends_the_converter_and_leaves_nothing(spec: ExportSpec, tmp_path: Path) -> None:
    job = tmp_path / "job"
    process = start(job, spec.model_copy(update={"quant": "f16", "merged": tmp_path / "merged"}))
    deadline = time.monotonic() + 200
    while not (job / "scratch").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    write_control(job, "cancel")
    events = finished(job, process)
    assert events[-1]["outcome"] == "cancelled"
    assert not any((tmp_path / "out").glob("*"))
    assert not (job / "scratch").exists()


@pytest.mark.slow
def test_an_unknown_tokenizer_is_told_in_the_converters_words(
    child: Child, tiny_model: Path, converter: Path, tmp_path: Path
) -> None:
    with pytest.raises(JobError, match="does not know this model's tokenizer"):
        convert.convert(child, tiny_model, tmp_path / "out.gguf", "f16", converter)


def test_a_missing_converter_says_what_to_run(child: Child, tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        convert.convert(child, tmp_path, tmp_path / "out.gguf", "f16", tmp_path / "nowhere")
    assert "fetch_converter.py" in caught.value.advice


def test_a_file_that_reads_otherwise_is_refused() -> None:
    prompt = Prompt(ASKED[0].question, "", [], "<|im_start|>user\nHi", [1, 2, 3])
    reply = llama_side.Reply(template="<|im_start|>user\nHi", tokens=[1, 2, 3], steps=[], text="")
    _must_read_alike(prompt, reply)
    with pytest.raises(JobError, match="chat template"):
        _must_read_alike(prompt, reply.model_copy(update={"template": "<|im_start|>user\n Hi"}))
    with pytest.raises(JobError, match="from token 1 on"):
        _must_read_alike(prompt, reply.model_copy(update={"tokens": [1, 9, 3]}))


@pytest.mark.parametrize(
    ("kl", "same", "verdict"),
    [(5e-6, 1.0, "same"), (0.004, 0.98, "close"), (0.06, 0.89, "close"), (1.5, 0.4, "differs"), (5e-6, 0.5, "differs")],
)
def test_verdicts(kl: float, same: float, verdict: str) -> None:
    assert verdict_of(kl, same) == verdict


def test_a_finished_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    part, final = tmp_path / "part", tmp_path / "final"
    part.mkdir()
    (part / "a.bin").write_bytes(b"12345")
    files.finish_folder(part, final, files.manifest_of(part))
    manifest = files.read_manifest(final)
    assert manifest is not None
    assert manifest.size == len(b"12345")
    (final / "a.bin").write_bytes(b"123")
    assert files.read_manifest(final) is None
    shutil.rmtree(final)
    assert files.read_manifest(final) is None


@pytest.mark.slow
def test_code_that_a_tokenizer_names_is_not_run_by_the_converter_either(spec: ExportSpec, tmp_path: Path) -> None:
    """llama.cpp's converter trusts the code that a tokenizer names, even in another folder of this machine."""
    code = tmp_path / "planted"
    code.mkdir()
    spring = f"open({str(tmp_path / 'sprung')!r}, 'w')"
    (code / "tok.py").write_text(
        f"{spring}\nfrom transformers import PreTrainedTokenizerFast\nTok = PreTrainedTokenizerFast"
    )
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(Path(spec.model.base_model), base)
    shutil.copytree(spec.adapter, adapter)
    for folder in (base, adapter):
        for name in ("config.json", "tokenizer_config.json"):
            if (file := folder / name).is_file():
                named = {"AutoTokenizer": [None, f"{code}--tok.Tok"], "AutoConfig": f"{code}--tok.Tok"}
                file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": named}))
    config = adapter / "adapter_config.json"  # the base that an adapter names is not looked for
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": str(code)}))
    model = spec.model.model_copy(update={"base_model": str(base)})
    wish = {"model": model, "adapter": adapter, "quant": "q8_0", "merged": tmp_path / "merged"}
    made = finished(tmp_path / "job", start(tmp_path / "job", spec.model_copy(update=wish)))
    assert made[-1]["kind"] == "done", made[-1]
    assert not (tmp_path / "sprung").exists()
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in json.loads((tmp_path / "merged" / name).read_text())

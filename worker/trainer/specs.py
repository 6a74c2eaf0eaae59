"""What stands in `job.json`, one model per kind of child process. Written by the runner, read by the child."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from app.domain.datasets.changes import Changes
from app.domain.datasets.formats import Format
from app.domain.jobs.config import Question, TrainConfig
from worker.trainer.protocol import JOB_FILE

TRAIN_ROWS = "train.jsonl"
VALIDATION_ROWS = "validation.jsonl"
#: Ending of the folder beside a source that is being fetched.
FETCHING = ".part"
#: 0-based numbers that the rows of the second file have in the data set.
HELD_OUT = "held_out.json"
#: Likewise of rows that are in neither: those marked for testing.
LEFT_OUT = "left_out.json"
ADAPTER_DIR = "adapter"
CHECKPOINTS_DIR = "checkpoints"


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


SpecT = TypeVar("SpecT", bound=_Spec)


class ModelSpec(_Spec):
    """Where the base model comes from and where its files are kept on this machine."""

    base_model: str
    revision: str = ""
    #: Folder that holds fetched and unpacked models on this host.
    model_cache: Path
    #: True: never ask the Hub; only what is on the machine.
    offline: bool = False
    #: Folders below which a local model may lie, the cache among them; None, by hand: anywhere.
    local_roots: tuple[Path, ...] | None = None
    #: The commit at which an administrator allowed this model to bring code of its own; empty: none may run.
    code_at: str = ""


class TrainSpec(_Spec):
    """A fine-tune. The rows lie beside it as `train.jsonl` and `validation.jsonl` (canonical rows)."""

    kind: Literal["train"] = "train"
    job_id: int = 0
    attempt: int = 1
    config: TrainConfig
    model: ModelSpec
    #: Absolute path of a complete checkpoint to go on from.
    resume_from: Path | None = None
    #: Lowest validation loss at a checkpoint of an earlier attempt; None: there is none.
    best_loss: float | None = None
    #: Folder of the adapter of an earlier training that this one goes on from; None: it starts a fresh one.
    start_from: Path | None = None
    #: (side, question index) of answers that an earlier attempt has stored.
    answered: tuple[tuple[str, int], ...] = ()
    #: CPU threads torch may use; 0 lets torch decide.
    threads: int = 0


class HubFetch(_Spec):
    """A data set on the Hub; without a configuration and a split a person is asked where there are several."""

    kind: Literal["hub"] = "hub"
    repo_id: str
    config: str = ""
    split: str = ""
    revision: str = ""
    #: The revision is one of the Hub's own copy as Parquet.
    converted: bool = False
    offline: bool = False
    #: Whether the stored token is given along; it comes over stdin.
    with_token: bool = False
    max_bytes: int = 0
    max_unpacked: int = 0


class UrlFetch(_Spec):
    """A file at an address."""

    kind: Literal["url"] = "url"
    url: str
    #: Names of hosts that may be called, and networks that may be although they are not public.
    hosts: tuple[str, ...]
    networks: tuple[str, ...] = ()
    max_bytes: int
    seconds: float


class IntakeSpec(_Spec):
    """Read `source`, write good rows canonically to `rows.jsonl` in the job folder, report problems and statistics."""

    kind: Literal["intake"] = "intake"
    source: Path
    filename: str
    #: Where the source is fetched from when it is not there yet.
    fetch: HubFetch | UrlFetch | None = Field(default=None, discriminator="kind")
    #: The format and the columns that a person chose; empty: they are found by looking at the rows.
    format: Format | Literal[""] = ""
    mapping: dict[str, str] = Field(default_factory=dict)
    #: (what, with what) is replaced in all texts.
    replace: tuple[tuple[str, str], ...] = ()
    max_problems: int = 1000
    #: Bytes that a packed file may unpack to; 0: any number.
    max_unpacked: int = 0
    #: More rows than this are refused; 0: any number.
    max_rows: int = 0
    #: `source` holds the canonical rows of a data set with these counts, and they become those of a new version.
    changes: Changes | None = None
    stats: dict[str, Any] = Field(default_factory=dict)


class AuditSpec(_Spec):
    """Tokenise every row as training would. Rows lie beside it as for training."""

    kind: Literal["audit"] = "audit"
    model: ModelSpec
    #: Rows longer than this are counted as cut; 0: proposes a length instead.
    max_seq_length: int = 0
    #: Nothing is counted: the few rows in the folder, of which the first has this 0-based number, are shown in tokens.
    rows_from: int | None = None


class AskedQuestion(_Spec):
    """A question of the job and the tuned model's own answer to it (greedy), for the proof."""

    question: Question
    answer: str = ""


class ExportSpec(_Spec):
    """Make one artifact out of a finished adapter, and prove it."""

    kind: Literal["export"] = "export"
    model: ModelSpec
    adapter: Path
    artifact: Literal["merged", "gguf"]
    quant: str = ""
    #: Folder where the merged 16-bit model of this run is kept between exports.
    merged: Path
    #: File stem of the artifact, already safe for any file system.
    name: str
    asked: tuple[AskedQuestion, ...] = ()
    #: Folder with a llama.cpp build (libllama); empty: the portable quantiser.
    llama_cpp_dir: str = ""
    #: Folder with llama.cpp's converter scripts.
    converter_dir: Path
    #: Where the finished artifact goes (a folder).
    out: Path
    threads: int = 1


class PushFile(_Spec):
    """One thing to push: a folder (adapter, merged) or files (gguf, Modelfile)."""

    artifact: Literal["adapter", "merged", "gguf"]
    quant: str = ""
    path: Path


class PushSpec(_Spec):
    """Send artifacts to a Hub repository. The token comes over stdin as secret `hub_token`."""

    kind: Literal["push"] = "push"
    repo_id: str
    private: bool = True
    files: tuple[PushFile, ...]
    #: For the model card.
    card: dict[str, str | int | float | list[str]] = Field(default_factory=dict)


def read_spec(job_dir: Path, model: type[SpecT]) -> SpecT:
    """The job's `job.json`. Raises `pydantic.ValidationError` when it is not what this child expects."""
    return model.model_validate_json((job_dir / JOB_FILE).read_text(encoding="utf-8"))


def write_spec(job_dir: Path, spec: _Spec) -> None:
    """Write `job.json`, readable by a person."""
    (job_dir / JOB_FILE).write_text(spec.model_dump_json(indent=2), encoding="utf-8")

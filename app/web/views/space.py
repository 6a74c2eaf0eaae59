"""The Storage page's words and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.domain.jobs.models import Artifact
from app.domain.space.usage import TrainingSpace, Usage
from app.web import filters
from app.web.render import translate as _

#: Of each list; what is smaller is told as a number.
SHOWN = 50
KINDS = {"adapter": "LoRA adapter", "merged": "Merged model", "gguf": "GGUF", "modelfile": "Modelfile"}


@dataclass(frozen=True)
class SpaceView:
    """Tiles, the largest of each kind, and how many are not shown."""

    stats: list[dict[str, Any]]
    trainings: list[dict[str, Any]]
    usage: Usage
    #: Jobs whose checkpoints can go now, and the bytes of those.
    removable: int
    removable_bytes: int
    shared: bool

    @property
    def hidden(self) -> dict[str, int]:
        """How many of each kind are not shown."""
        found = self.usage
        counts = {"trainings": len(found.trainings), "datasets": len(found.datasets), "models": len(found.models)}
        return {name: max(0, count - SHOWN) for name, count in counts.items()}


def space_view(found: Usage, removable: list[int], *, shared: bool) -> SpaceView:
    """The page's context."""
    going = [training for training in found.trainings if training.id in removable]
    return SpaceView(
        _stats(found),
        [_training(each, removable=each.id in removable) for each in found.trainings[:SHOWN]],
        found,
        len(going),
        sum(training.checkpoint_bytes for training in going),
        shared,
    )


def _stats(found: Usage) -> list[dict[str, Any]]:
    share, disk = filters.percent(found.free / max(1, found.disk)), filters.filesize(found.disk)
    return [
        {
            "label": _("Free on this disk"),
            "value": filters.filesize(found.free),
            "note": _("%(share)s of %(disk)s", share=share, disk=disk),
        },
        {"label": _("Taken by Tunedeck"), "value": filters.filesize(found.total)},
        _tile(_("Trainings"), [item.total for item in found.trainings]),
        _tile(_("Data sets"), [item.total for item in found.datasets]),
        _tile(_("Base models"), [item.total for item in found.models]),
    ]


def _tile(label: str, sizes: list[int]) -> dict[str, Any]:
    count = _("%(n)s in all", n=filters.number(len(sizes)))
    return {"label": label, "value": filters.filesize(sum(sizes)), "note": count}


def _training(training: TrainingSpace, *, removable: bool) -> dict[str, Any]:
    merged = any(artifact.kind == "merged" for artifact in training.artifacts)
    known = training.checkpoint_bytes + training.files_bytes + (0 if merged else training.merged_bytes)
    return {
        "id": training.id,
        "name": training.name,
        "state": training.state,
        "total": training.total,
        "checkpoints": training.checkpoints,
        "checkpoint_bytes": training.checkpoint_bytes,
        "removable": removable,
        "files": [_file(artifact) for artifact in training.artifacts if artifact.kind != "modelfile"],
        "merged_bytes": 0 if merged else training.merged_bytes,
        "rest": max(0, training.total - known),
    }


def _file(artifact: Artifact) -> dict[str, Any]:
    label = f"{_(KINDS.get(artifact.kind, artifact.kind))} {artifact.quant}".strip()
    return {"id": artifact.id, "label": label, "size": artifact.size, "removable": artifact.kind != "adapter"}

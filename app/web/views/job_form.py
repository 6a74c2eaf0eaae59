"""The form of a new job: fields to `TrainConfig` and back, with a sentence beside each field that is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.datastructures import FormData

from app.domain.jobs.config import MAX_QUESTIONS, Question, TrainConfig
from app.web.deps import text
from app.web.render import translate as _
from app.web.views.fields import BY_FILE, BY_NAME, PERCENT, defaults

#: Questions shown without asking for more.
SHOWN_QUESTIONS = 4


@dataclass
class JobForm:
    """What was typed, and what is wrong with it."""

    dataset_id: str = ""
    name: str = ""
    values: dict[str, Any] = field(default_factory=defaults)
    questions: list[dict[str, str]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    #: Number of the training whose adapter is gone on from; 0: none.
    adapter_of: int = 0
    #: When it starts, among those that wait.
    priority: str = "normal"
    #: Settings to be tried in several values: (name, values as typed).
    sweep: list[tuple[str, str]] = field(default_factory=list)

    @property
    def number(self) -> int:
        """The data set's number; 0 when none is chosen."""
        return int(self.dataset_id) if re.fullmatch(r"[0-9]{1,9}", self.dataset_id) else 0

    @property
    def slots(self) -> list[dict[str, str]]:
        """Questions and empty places, `MAX_QUESTIONS` in all."""
        blank = {"prompt": "", "system": "", "expected": ""}
        return [*self.questions, *[blank] * (MAX_QUESTIONS - len(self.questions))][:MAX_QUESTIONS]

    def summary(self) -> list[tuple[str, str]]:
        """Items of the `error_summary` macro, in the order of the form; each leads to a field that is there."""
        order = ["dataset_id", "base_model", "name", *(name for name in BY_NAME if name != "base_model")]
        names = sorted(self.errors, key=lambda name: order.index(name) if name in order else len(order))
        return [("question-1" if name == "questions" else name, self.errors[name]) for name in names]


def read_form(form: FormData) -> JobForm:
    """Everything that was typed, unchecked."""
    values = defaults()
    for name in BY_NAME:
        if name == "target_modules":
            values[name] = tuple(str(v) for v in form.getlist(name))
        elif BY_NAME[name].kind == "switch":
            values[name] = name in form
        elif name in form:
            values[name] = text(form, name)
    prompts, systems, expected = (form.getlist(f"question_{part}") for part in ("prompt", "system", "expected"))
    questions = [
        {"prompt": str(p).strip(), "system": str(s), "expected": str(e)}
        for p, s, e in zip(prompts, systems, expected, strict=False)
    ]
    was, expected_was = form.getlist("question_was"), form.getlist("question_expected_was")
    for question, old, answer in zip(questions, was, expected_was, strict=False):
        if question["prompt"] != _plain(old) and _plain(question["expected"]) == _plain(answer):
            question["expected"] = ""  # it was the answer to another question
    questions = [question for question in questions if question["prompt"]]
    start = text(form, "adapter_of")
    tried = zip(form.getlist("sweep_field"), form.getlist("sweep_values"), strict=False)
    return JobForm(
        text(form, "dataset_id"),
        text(form, "name"),
        values,
        questions[:MAX_QUESTIONS],
        adapter_of=int(start) if re.fullmatch(r"[0-9]{1,9}", start) else 0,
        priority=text(form, "priority", "normal") or "normal",
        sweep=[(str(name).strip(), str(values).strip()) for name, values in tried],
    )


def typed_questions(form: FormData) -> list[dict[str, str]]:
    """Questions that a person wrote or changed; those that were only proposed are left out."""
    proposed = {_plain(text) for text in form.getlist("question_was")}
    return [question for question in read_form(form).questions if _plain(question["prompt"]) not in proposed]


def _plain(typed: object) -> str:
    """As it was before a browser made its line ends."""
    return str(typed).replace("\r\n", "\n").strip()


def put_questions(form: JobForm, questions: list[Question]) -> None:
    """Fill the form with proposed questions."""
    form.questions = [q.model_dump() for q in questions]


def to_config(form: JobForm) -> TrainConfig | None:
    """The checked settings; None when something is wrong, which `form.errors` then tells by field."""
    raw: dict[str, Any] = {name: value for name, value in form.values.items() if value != "" or name == "revision"}
    for name in PERCENT & raw.keys():
        raw[name] = _fraction(raw[name])
    for name, spec in TrainConfig.model_fields.items():
        if spec.annotation is float and isinstance(raw.get(name), str):
            raw[name] = raw[name].replace(",", ".")  # as half of the world writes it
    if raw.get("validation_dataset") == BY_FILE:
        raw |= {"validation_dataset": 0, "split_by_file": True}
    raw["questions"] = tuple(form.questions)
    raw["adapter_of"] = form.adapter_of
    try:
        return TrainConfig.model_validate(raw)
    except ValidationError as exc:
        for error in exc.errors():
            name = str(error["loc"][0]) if error["loc"] else "base_model"
            form.errors.setdefault(name, _sentence(name, error))
        return None


def _fraction(value: str) -> float | str:
    try:
        return float(value.replace(",", ".").removesuffix("%").strip()) / 100
    except ValueError:
        return value


def _sentence(name: str, error: ErrorDetails) -> str:
    """What is wrong and what fits, in words."""
    label = BY_NAME[name].label if name in BY_NAME else _("Questions")
    context = error.get("ctx", {})
    kind = error["type"]
    if kind in {"missing", "string_too_short"}:
        return _("%(label)s: fill this in.", label=label)
    if "parsing" in kind or kind in {"float_type", "int_type", "int_from_float", "finite_number"}:
        what = _("a whole number") if kind.startswith("int") else _("a number, such as 0.1 or 2e-4")
        return _("%(label)s: “%(value)s” is not %(what)s.", label=label, value=str(error["input"])[:40], what=what)
    if kind in {"too_long", "string_too_long"}:
        return _("%(label)s: this is too long. Shorten it.", label=label)
    limits = _limits(name, context)
    if limits:
        return _("%(label)s must be %(limits)s.", label=label, limits=limits)
    return f"{label}: {str(error['msg']).removeprefix('Value error, ')}"


def _limits(name: str, context: dict[str, Any]) -> str:
    words = {"gt": _("more than"), "ge": _("at least"), "lt": _("less than"), "le": _("at most")}
    scale = 100 if name in PERCENT else 1
    unit = f" {BY_NAME[name].unit}" if name in BY_NAME and BY_NAME[name].unit else ""
    return ", ".join(f"{word} {context[key] * scale:g}{unit}" for key, word in words.items() if key in context)

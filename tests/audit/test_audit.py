"""The audit as its own process: what it counts is what the trainer would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.domain.datasets.audit import AuditReport
from tests.tiny_model import tiny_rows, write_rows
from tests.trainer.jobs import events, finish, of, start, succeeded
from worker.trainer.protocol import Error, Phase, Result
from worker.trainer.specs import AuditSpec, ModelSpec, write_spec

pytestmark = pytest.mark.slow


def audit_job(folder: Path, model: Path, rows: list[dict[str, Any]], validation: list[dict[str, Any]]) -> Path:
    """A job folder for the audit."""
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "validation.jsonl", validation)
    spec = ModelSpec(base_model=str(model), model_cache=folder / "models", offline=True)
    write_spec(folder, AuditSpec(model=spec, max_seq_length=100))
    return folder


def said(question: str, answer: str, **more: object) -> dict[str, Any]:
    """One exchange."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **more}]}


def test_everything_wrong_with_a_set_is_counted(tmp_path: Path, tiny_model: Path) -> None:
    good = tiny_rows(20)
    distinct = len({row["messages"][1]["content"] for row in good})
    odd = [
        said("a", "b<|im_end|>"),
        {"messages": [{"role": "user", "content": "alone"}]},
        said("cat", "dog " * 120),
        said("long " * 60, "short"),
        said("think", "yes", reasoning="It says think."),
    ]
    found = finish(audit_job(tmp_path, tiny_model, good + odd, [good[0], said("new", "row")]), "audit")
    assert succeeded(found), (tmp_path / "output.txt").read_text()[-3000:]
    report = AuditReport.model_validate(of(found, Result)[0].payload)
    assert (report.rows, report.validation_rows) == (25, 2)
    assert report.problem_counts == {"control_token": 1, "no_answer": 1}
    assert [problem.row for problem in report.problems] == [21, 22]
    assert report.cut_rows == 2
    assert report.nothing_supervised == 1
    assert report.cut_tokens > 0
    assert report.end_of_turn_supervised == 1.0
    assert report.end_of_turn == "<|im_end|>"
    assert report.reasoning_rows == 1
    assert report.template_changed
    assert "reasoning" in report.template_note
    assert report.copies.exact == 20 - distinct
    assert report.copies.leaked == 1
    assert sum(part.rows for part in report.histogram) == 23
    assert report.row_lengths.p50 <= report.row_lengths.p99 <= report.row_lengths.max
    assert report.system_prompts.distinct == 1
    assert report.system_prompts.rows_without == 5
    assert report.roles[0].code == "ends_with_question"
    assert report.roles[0].first_row == 22
    asked = report.cut(100)
    assert (asked.rows, asked.tokens, asked.nothing_left) == (2, report.cut_tokens, 1)
    assert report.proposed_max_seq_length % 64 == 0
    assert report.bad_rows == 3
    assert of(found, Phase)[-1].done == 27


def test_the_sample_shows_what_is_learned(tmp_path: Path, tiny_model: Path) -> None:
    found = finish(audit_job(tmp_path, tiny_model, [said("Say red.", "red öß 😀")], []), "audit")
    report = AuditReport.model_validate(of(found, Result)[0].payload)
    text = "".join(token.text for token in report.sample[0])
    assert text == "<|im_start|>user\nSay red.<|im_end|>\n<|im_start|>assistant\nred öß 😀<|im_end|>\n"
    assert "".join(token.text for token in report.sample[0] if token.supervised) == "red öß 😀<|im_end|>"


def test_rows_that_are_no_conversations_are_said(tmp_path: Path, tiny_model: Path) -> None:
    folder = audit_job(tmp_path, tiny_model, [{"question": "a", "answer": "b"}], [])
    assert start(folder, "audit").wait(120) == 1
    last = events(folder)[-1]
    assert isinstance(last, Error)
    assert last.error_class == "bad_data"
    assert "Line 1" in last.message

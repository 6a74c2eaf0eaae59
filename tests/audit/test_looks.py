"""What an audit looks at besides tokens: copies, secrets, roles, system prompts, languages."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.datasets.audit import AuditReport, RowsReport
from tests.audit.test_audit import audit_job, said
from tests.tiny_model import write_rows
from tests.trainer.jobs import finish, of, succeeded
from worker.audit.copies import CopyFinder
from worker.audit.languages import LanguageCounter
from worker.audit.secrets import SecretCounter, find_secrets, is_card, masked, without_secrets
from worker.audit.turns import SystemCounter, odd_orders
from worker.trainer.protocol import Result
from worker.trainer.rows import Row
from worker.trainer.specs import AuditSpec, ModelSpec, write_spec

WORDS = ("the", "of", "and", "to", "in", "is", "was", "he", "for", "it", "with", "as", "his", "on", "be", "at")

SECRETS = {
    "api_key": ["sk-" + "proj" + "Ab3dEf6h" * 4, "AKIA" + "ABCDEFGHIJ234567", "hf_" + "aBcDeFgH" * 4],
    "private_key": ["-----BEGIN RSA PRIVATE KEY-----"],
    "email": ["anna.petersen+news@mail.example.org"],
    "phone": ["+49 170 5551234", "(212) 555-0188"],
    "card": ["4111 1111 1111 1111", "5500-0055-5555-5559"],
}


def talk(seed: int, words: int = 60, changed: int = 0) -> Row:
    """A row of made-up words; `changed` of them differ from the row of the same seed."""
    rng = random.Random(seed)
    text = [f"{rng.choice(WORDS)}{rng.randrange(50)}" for _ in range(words)]
    for k in range(changed):
        text[(k + 1) * 20 % words] = f"other{k}"
    return said("Say it.", " ".join(text))  # type: ignore[return-value]


def found_in(train: list[Row], held: list[Row] | None = None) -> CopyFinder:
    finder = CopyFinder()
    for number, row in enumerate(train, start=1):
        finder.add(row, number, held_out=False)
    for number, row in enumerate(held or [], start=len(train) + 1):
        finder.add(row, number, held_out=True)
    return finder


def test_copies_are_told_from_near_copies_and_from_others() -> None:
    others = [talk(seed) for seed in range(300)]
    copies = found_in([*others, talk(3), talk(5, changed=1)], [talk(7), talk(9, changed=1), talk(1000)]).found()
    assert (copies.exact, copies.near) == (1, 1)
    assert (copies.leaked, copies.nearly_leaked) == (1, 1)
    assert copies.compared == 305
    assert {(pair.row, pair.like) for pair in copies.examples} == {(302, 6), (304, 10)}


def test_a_system_prompt_makes_no_rows_alike() -> None:
    prompt: Any = {"role": "system", "content": "You answer as a captain of the sea would. " * 20}
    rows: list[Row] = [{"messages": [prompt, *talk(seed, words=20)["messages"]]} for seed in range(50)]
    assert found_in(rows).found().near == 0


def test_near_copies_are_found_without_spaces_between_words() -> None:
    text = "昔々ある所にお爺さんとお婆さんが住んでいましたお爺さんは山へ芝刈りにお婆さんは川へ洗濯に行きました" * 2
    rows: Any = [said("話して", text), said("話して", text.replace("洗濯", "買物", 1))]
    assert found_in(rows).found().near == 1


def test_nothing_is_found_in_nothing() -> None:
    assert CopyFinder().found().exact == 0


@pytest.mark.parametrize(("kind", "secret"), [(kind, text) for kind, texts in SECRETS.items() for text in texts])
def test_each_kind_of_secret_is_found_and_masked(kind: str, secret: str) -> None:
    text = f"Use {secret} for it, please."
    assert (kind, secret) in list(find_secrets(text))
    assert secret not in without_secrets(text)
    assert secret not in masked(secret)


@pytest.mark.parametrize(
    "text",
    [
        "In 2024 we sold 1234567 pieces at 3.14159265358979 each.",
        "See section 12.3.4, ISBN 978-3-16-148410-0, or mail me @home.",
        "1111111111111111 is no card, nor is 4111 1111 1111 1112.",
        "risk-averse people ask-and-answer; the sky-blue skirt",
    ],
)
def test_what_only_looks_a_little_like_a_secret_is_none(text: str) -> None:
    assert [kind for kind, _ in find_secrets(text) if kind != "phone"] == []


@given(st.text(max_size=300))
def test_any_text_is_looked_through(text: str) -> None:
    for _, secret in find_secrets(text):
        assert secret in text


def test_the_check_digit_of_a_card() -> None:
    assert is_card("4111111111111111")
    assert not is_card("0000000000000000")


def test_examples_of_secrets_are_few_and_masked() -> None:
    counter = SecretCounter()
    for number in range(1, 11):
        assert counter.add([SECRETS["email"][0], "and " + SECRETS["api_key"][0]], number)
    assert not counter.add(["nothing here"], 11)
    keys, mails = counter.found()
    assert (keys.kind, keys.rows, keys.found) == ("api_key", 10, 10)
    assert [example.row for example in mails.examples] == [1, 2, 3]
    assert mails.examples[0].masked == f"an… ({len(SECRETS['email'][0])})"


@pytest.mark.parametrize(
    ("roles", "codes"),
    [
        ("sua", []),
        ("uaua", []),
        ("uata", []),
        ("usa", ["system_late"]),
        ("aua", ["starts_with_answer"]),
        ("uuaa", ["two_questions", "two_answers"]),
        ("uau", ["ends_with_question"]),
    ],
)
def test_odd_orders_of_turns(roles: str, codes: list[str]) -> None:
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    row: Any = {"messages": [{"role": names[letter], "content": "x"} for letter in roles]}
    assert list(odd_orders(row)) == codes


def test_system_prompts_are_counted_and_their_secrets_masked() -> None:
    counter = SystemCounter()
    for k in range(10):
        prompt = f"Write to {SECRETS['email'][0]}." if k < 6 else f"You are number {k}."
        row: Any = {"messages": [{"role": "system", "content": prompt}, {"role": "assistant", "content": "a"}]}
        counter.add(row)
    counter.add(said("a", "b"))  # type: ignore[arg-type]
    found = counter.found()
    assert (found.distinct, found.rows_without) == (5, 1)
    assert found.common[0].rows == 6
    assert SECRETS["email"][0] not in found.common[0].text


def test_languages_are_told_from_a_sample() -> None:
    counter = LanguageCounter(total=4000)
    german = "Der schnelle braune Fuchs springt über den faulen Hund und läuft dann weiter in den Wald hinein."
    english = "The quick brown fox jumps over the lazy dog and then it runs on into the deep dark forest."
    for k in range(4000):
        counter.add(said("", english if k % 8 else german), k)  # type: ignore[arg-type]
    assert counter.looked_at == 1000
    assert {each.code: each.rows for each in counter.found()} == {"en": 500, "de": 500}


@pytest.mark.slow
def test_planted_secrets_are_counted_and_stand_nowhere(tmp_path: Path, tiny_model: Path) -> None:
    planted = [secret for texts in SECRETS.values() for secret in texts]
    rows = [said(f"Question {k}?", f"It is {secret}, I think.") for k, secret in enumerate(planted)]
    rows[0]["messages"].insert(0, {"role": "system", "content": f"Your key is {planted[0]}."})
    rows += [said("Any?", f"None <|im_end|> {planted[1]}")]
    found = finish(audit_job(tmp_path, tiny_model, rows, [said("Held", planted[2])]), "audit")
    assert succeeded(found), (tmp_path / "output.txt").read_text()[-3000:]
    report = AuditReport.model_validate(of(found, Result)[0].payload)
    assert {each.kind: each.rows for each in report.secrets} == {
        "private_key": 1, "api_key": 4, "card": 2, "email": 1, "phone": 2,
    }  # fmt: skip
    told = (tmp_path / "events.jsonl").read_text() + (tmp_path / "output.txt").read_text()
    assert [secret for secret in planted if secret in told] == []


@pytest.mark.slow
def test_a_few_rows_are_shown_as_training_has_them(tmp_path: Path, tiny_model: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [said("Say red.", "red öß 😀"), said("a", "b<|im_end|>")])
    model = ModelSpec(base_model=str(tiny_model), model_cache=tmp_path / "models", offline=True)
    write_spec(tmp_path, AuditSpec(model=model, rows_from=20))
    found = finish(tmp_path, "audit")
    first, second = RowsReport.model_validate(of(found, Result)[0].payload).rows
    assert (first.number, second.number) == (21, 22)
    text = "<|im_start|>user\nSay red.<|im_end|>\n<|im_start|>assistant\nred öß 😀<|im_end|>\n"
    assert "".join(first.tokens) == text
    assert "".join(token for a, b in first.learned for token in first.tokens[a:b]) == "red öß 😀<|im_end|>"
    assert first.full_length == len(first.tokens)
    assert "<|im_end|>" in second.problem

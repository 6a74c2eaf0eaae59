"""What should not be in training data: keys, mail addresses, telephone and card numbers. Counted, never kept whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.domain.datasets.audit import SecretExample, SecretFinding

_EXAMPLES = 3
_KEY_HEADS = (
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "sk-",
    "sk_",
    "hf_",
    "xox",
    "AIza",
    "glpat-",
    "eyJ",
    "npm_",
    "pypi-",
)
_KEY = re.compile(
    r"\b(?:A[KS]IA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|sk-[A-Za-z0-9_-]{20,}"
    r"|sk_(?:live|test)_[A-Za-z0-9]{16,}|hf_[A-Za-z0-9]{30,}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35}"
    r"|glpat-[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{50,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"
)
_PRIVATE = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})*\.[A-Za-z]{2,24}\b")
#: Thirteen to nineteen digits in groups; a telephone number: with its country, or in groups of three and four.
_CARD = re.compile(r"(?<![\d.])(?:\d[ -]?){12,18}\d(?![\d.])")
_PHONE = re.compile(
    r"(?<![\w.+])(?:\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ .-]?){2,5}\d{2,4}|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4})(?![\w])"
)
_NUMBER = re.compile(r"\d[\d ().-]{7,}\d")


def find_secrets(text: str) -> Iterator[tuple[str, str]]:
    """(kind, what was found), cheap looks first."""
    if "PRIVATE KEY-----" in text:
        yield from (("private_key", hit[0]) for hit in _PRIVATE.finditer(text))
    if any(head in text for head in _KEY_HEADS):
        yield from (("api_key", hit[0]) for hit in _KEY.finditer(text))
    if "@" in text:
        yield from (("email", hit[0]) for hit in _MAIL.finditer(text))
    if _NUMBER.search(text):
        yield from (("card", hit[0]) for hit in _CARD.finditer(text) if is_card(hit[0]))
        yield from (("phone", hit[0]) for hit in _PHONE.finditer(text) if not is_card(hit[0]))


def is_card(text: str) -> bool:
    """By the check digit (Luhn) that every card number ends in."""
    digits = [int(char) for char in text if char.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2:
        return False
    doubled = [
        digit if k % 2 == 0 else (digit * 2 - 9 if digit > 4 else digit * 2) for k, digit in enumerate(digits[::-1])
    ]
    return sum(doubled) % 10 == 0


def masked(secret: str) -> str:
    """Its first two characters and its length."""
    return f"{secret[:2]}… ({len(secret)})"


def without_secrets(text: str) -> str:
    """`text` with each of them masked."""
    for _, secret in sorted(find_secrets(text), key=lambda hit: -len(hit[1])):
        text = text.replace(secret, masked(secret))
    return text


@dataclass
class SecretCounter:
    """Counts by kind, with the first few places."""

    _rows: dict[str, int] = field(default_factory=dict)
    _found: dict[str, int] = field(default_factory=dict)
    _examples: dict[str, list[SecretExample]] = field(default_factory=dict)

    def add(self, texts: list[str], row: int) -> bool:
        """Whether there was anything in this row."""
        hits = [hit for text in texts for hit in find_secrets(text)]
        for kind in {kind for kind, _ in hits}:
            self._rows[kind] = self._rows.get(kind, 0) + 1
        for kind, secret in hits:
            self._found[kind] = self._found.get(kind, 0) + 1
            shown = self._examples.setdefault(kind, [])
            if len(shown) < _EXAMPLES:
                shown.append(SecretExample(row=row, masked=masked(secret)))
        return bool(hits)

    def found(self) -> tuple[SecretFinding, ...]:
        """The gravest kinds first."""
        order = ("private_key", "api_key", "card", "email", "phone")
        return tuple(
            SecretFinding(kind=k, rows=self._rows[k], found=self._found[k], examples=tuple(self._examples[k]))
            for k in order
            if k in self._rows
        )

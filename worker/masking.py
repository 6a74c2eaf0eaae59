"""What a child prints goes to a file in its folder: secrets are replaced on the way, whichever library speaks."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

#: Shorter ones would hide ordinary words.
_SHORTEST = 6
_MASK = "•••"
_hidden: list[str] = []


def mask(text: str, values: Iterable[str] = ()) -> str:
    """`text` with every known secret, and those of `values`, replaced."""
    for value in (*_hidden, *values):
        if len(value) >= _SHORTEST:
            text = text.replace(value, _MASK)
    return text


class _Masked:
    """A text stream, but for what it writes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(mask(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def install() -> None:
    """Before any library keeps hold of the streams."""
    if not isinstance(sys.stderr, _Masked):
        sys.stdout, sys.stderr = _Masked(sys.stdout), _Masked(sys.stderr)


def hide(values: Iterable[str]) -> None:
    """From now on."""
    _hidden.extend(value for value in values if len(value) >= _SHORTEST)

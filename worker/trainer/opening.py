"""How a template opens an answer: what a model is asked with, and what stands there once it has answered.

The two often differ: the prompt opens a `<think>` block or closes an empty one, and the finished turn has none. A model
must learn to go on from what it is asked with, so such a turn is completed by what the prompt has and it has not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from worker.trainer.rows import Message

#: A block of reasoning with nothing in it, or the end of one that the prompt began.
_EMPTY = re.compile(r"\s*(<think>)?\s*</think>\s*")
_REASON = "Zq4think4qZ"
_ANSWER = "Zq4tell4qZ"
Write = Callable[[list[Message]], str]


@dataclass(frozen=True)
class Opening:
    """`head` + `tail` is what a model is asked with; a finished turn may go on right after `head`."""

    head: str = ""
    tail: str = ""
    #: Around the reasoning, after head and tail: as the template has it where it keeps it.
    before: str = "<think>\n"
    after: str = "\n</think>\n\n"
    #: The prompt leaves a block of reasoning open.
    thinks: bool = False

    def lead(self, text: str, reasoning: str) -> str:
        """`text` ends where the content of an answer begins: completed by the prompt's tail, and by `reasoning`."""
        at = text.rfind(self.head)
        at = len(text) if at < 0 else at + len(self.head)
        rest = text[at:]
        if reasoning:
            return text[:at] + self.tail + self._kept(rest) + self.before + reasoning + self.after
        if self.thinks and "</think>" not in rest:
            return text[:at] + self.tail + rest.removeprefix(self.tail) + "\n</think>\n\n"
        if not self.tail or rest.startswith(self.tail):
            return text
        return text[:at] + self.tail + (rest.lstrip().removeprefix("<think>") if self.thinks else rest)

    def _kept(self, rest: str) -> str:
        """Of what stands between head and content, what is neither an empty block nor written after the reasoning."""
        rest = rest.removeprefix(self.tail) if self.tail else rest
        return "" if _EMPTY.fullmatch(rest) or self.after.endswith(rest) else rest


def probe(write: Write, ask: Write) -> Opening:
    """Find out by trying: `write` renders messages through the template, `ask` adds the prompt for an answer."""
    user: Message = {"role": "user", "content": "Hi"}
    told: Message = {"role": "assistant", "content": _ANSWER}
    base, prompt = write([user]), ask([user])
    if not prompt.startswith(base):
        return Opening(thinks=_thinks(prompt))
    asked = prompt[len(base) :]
    written = [_before(write(turns), base, _ANSWER) for turns in ([user, told], [user, told, user, told])]
    head = _whole(shared([asked, *(text for text in written if text is not None)]))
    before, after = _form(write([user, told | {"reasoning": _REASON}]), prompt)
    return Opening(head, asked.removeprefix(head), before, after, _thinks(prompt))


def shared(texts: list[str]) -> str:
    """The characters that all of them begin with."""
    first, last = min(texts), max(texts)
    return first[: next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _thinks(prompt: str) -> bool:
    return prompt.rstrip().endswith("<think>")


def _before(text: str, base: str, marker: str) -> str | None:
    """What `text` has between `base` and the marker; None where it does not go on from `base`."""
    return text[len(base) : text.index(marker)] if text.startswith(base) and marker in text else None


def _whole(head: str) -> str:
    """Without the first characters of a tag that goes on differently."""
    at = head.rfind("<")
    return head[:at] if at > head.rfind(">") else head


def _form(text: str, prompt: str) -> tuple[str, str]:
    """What stands before and after the reasoning, as the template itself writes it; else as most models do."""
    found = text.find(_REASON), text.find(_ANSWER)
    if text.startswith(prompt) and len(prompt) <= found[0] < found[1]:
        return text[len(prompt) : found[0]], text[found[0] + len(_REASON) : found[1]]
    return "" if _thinks(prompt) else "<think>\n", "\n</think>\n\n"

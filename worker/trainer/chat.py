"""A model's own way of writing a conversation: its chat template, found out by probing, not by the model's name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer

from worker.child import JobError
from worker.trainer.opening import Opening, probe
from worker.trainer.rows import Message

#: For base models that come without a template; `eos_token` ends each answer.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '### ' + message['role'] | capitalize + ':\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token + '\n' }}{% else %}{{ '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}"
)
_PROBE = "Zq4probe4qZ"
_NOT_PAD = "The tokenizer names no token that can fill up short rows."


class TemplateRefused(Exception):
    """The chat template will not write this conversation; the message is the template's own."""


@dataclass(frozen=True)
class Chat:
    """How this tokenizer's template behaves, and the calls that render and read it."""

    tokenizer: Any
    end_of_turn: int | None
    stop_ids: tuple[int, ...]
    control_tokens: tuple[str, ...]
    control_ids: frozenset[int]
    #: The template has no place for a system message: it goes before the first user message.
    folds_system: bool
    #: How an answer begins, asked for and written.
    opening: Opening
    trims_left: bool
    trims_right: bool
    has_marks: bool

    @property
    def opens_think(self) -> bool:
        """The generation prompt itself opens a `<think>` block."""
        return self.opening.thinks

    @property
    def end_of_turn_text(self) -> str:
        """The end-of-turn token as it is written."""
        return "" if self.end_of_turn is None else str(self.tokenizer.convert_ids_to_tokens(self.end_of_turn))

    @property
    def begins_with(self) -> str:
        """The token that the tokenizer itself puts before a text without a template, if it does."""
        ids = self.tokenizer("a")["input_ids"]
        return str(self.tokenizer.bos_token) if ids[0] == self.tokenizer.bos_token_id else ""

    def fit(self, messages: list[Message]) -> list[Message]:
        """The conversation as this template can take it."""
        if not (self.folds_system and len(messages) > 1 and messages[0]["role"] == "system"):
            return messages
        system, first = messages[0], messages[1]
        folded: Message = {**first, "content": f"{system['content']}\n\n{first['content']}"}
        return [folded, *messages[2:]]

    def trim(self, content: str) -> str:
        """`content` as the template leaves it."""
        content = content.lstrip() if self.trims_left else content
        return content.rstrip() if self.trims_right else content

    def render(self, messages: list[Message], tools: list[dict[str, Any]] | None = None, *, ask: bool = False) -> str:
        """The template's text; with `ask` up to where the model's answer begins. Raises `TemplateRefused`."""
        return render(self.tokenizer, messages, tools, ask=ask)

    def prompt(self, system: str, question: str) -> str:
        """What the model reads when it is asked `question`."""
        turns: list[Message] = [{"role": "user", "content": question}]
        if system:
            turns.insert(0, {"role": "system", "content": system})
        return self.render(self.fit(turns), ask=True)

    def ids(self, text: str) -> list[int]:
        """Token ids of a rendered text; nothing is added to it."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found


def render(tokenizer: Any, messages: list[Message], tools: list[dict[str, Any]] | None = None, *, ask: bool) -> str:
    """One conversation through the tokenizer's template. Raises `TemplateRefused`."""
    try:
        text: str = tokenizer.apply_chat_template(
            [for_template(message) for message in messages],
            tools=tools or None,
            tokenize=False,
            add_generation_prompt=ask,
        )
    except (TemplateError, TypeError, KeyError, AttributeError) as exc:
        raise TemplateRefused(str(exc)) from exc
    return text


def for_template(message: Message) -> dict[str, Any]:
    """Templates name the reasoning differently, and want a call's arguments as an object."""
    out: dict[str, Any] = {k: v for k, v in message.items() if k not in {"weight", "reasoning"}}
    if message.get("reasoning"):
        out |= dict.fromkeys(("reasoning_content", "reasoning", "thinking"), message["reasoning"])
    if message.get("tool_calls"):
        out["tool_calls"] = [_open_arguments(call) for call in message["tool_calls"]]
    return out


def _open_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
    except json.JSONDecodeError:
        return call


def load_chat(folder: Path, *, foreign_code: bool = False) -> Chat:
    """The tokenizer of `folder` and what its template does. Raises `JobError` when it can't be used."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=foreign_code)
    if not tokenizer.is_fast:
        raise JobError(
            "not_supported",
            "This model's tokenizer can't say which characters a token stands for.",
            "Choose a model that comes with a tokenizer.json.",
        )
    try:
        return chat_of(tokenizer, _stop_ids(folder))
    except (TemplateRefused, ValueError) as exc:
        raise JobError("not_supported", f"This model's chat template can't be used: {exc}") from exc


def _stop_ids(folder: Path) -> tuple[int, ...]:
    """Where the model's own settings end an answer."""
    file = folder / "generation_config.json"
    found = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.is_file() else None
    return tuple(found) if isinstance(found, list) else () if found is None else (found,)


def chat_of(tokenizer: Any, stop_ids: tuple[int, ...] = ()) -> Chat:
    """Probe `tokenizer`'s template. `stop_ids`: further ids at which the model's own settings end an answer.

    A tokenizer without a template or a pad token is given one. Raises `TemplateRefused` when not even
    a question and an answer can be written, `ValueError` when no token can serve as padding.
    """
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    ensure_pad_token(tokenizer)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    control = _control_tokens(tokenizer)
    end = _end_of_turn(tokenizer, control)
    ensure_pad_differs(tokenizer, end)
    left, right = _trims(tokenizer)
    return Chat(
        tokenizer=tokenizer,
        end_of_turn=end,
        stop_ids=tuple(sorted({*stop_ids, *_known(end), *_known(tokenizer.eos_token_id)})),
        control_tokens=tuple(control.values()),
        control_ids=frozenset(control),
        folds_system=_folds_system(tokenizer),
        opening=probe(partial(_or_nothing, tokenizer, ask=False), partial(_or_nothing, tokenizer, ask=True)),
        trims_left=left,
        trims_right=right,
        has_marks="generation %}" in tokenizer.get_chat_template(),
    )


def _known(token: int | None) -> set[int]:
    return set() if token is None else {token}


def _control_tokens(tokenizer: Any) -> dict[int, str]:
    return {i: str(token) for i, token in tokenizer.added_tokens_decoder.items() if token.special}


def _exchange(answer: str) -> list[Message]:
    return [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer}]


def _end_of_turn(tokenizer: Any, control: dict[int, str]) -> int | None:
    """The first control token that the template writes after an answer."""
    tail = render(tokenizer, _exchange(_PROBE), ask=False).rpartition(_PROBE)[2]
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"]
    return next((i for i in ids if i in control or i == tokenizer.eos_token_id), None)


def _folds_system(tokenizer: Any) -> bool:
    turns: list[Message] = [{"role": "system", "content": _PROBE}, *_exchange("Hello")]
    try:
        return _PROBE not in render(tokenizer, turns, ask=False)
    except TemplateRefused:
        return True


def _or_nothing(tokenizer: Any, messages: list[Message], *, ask: bool) -> str:
    """What a template refuses tells nothing of how it writes the rest."""
    try:
        return render(tokenizer, messages, ask=ask)
    except TemplateRefused:
        return ""


def _trims(tokenizer: Any) -> tuple[bool, bool]:
    text = render(tokenizer, _exchange(f" \n{_PROBE}\n "), ask=False)
    return f" \n{_PROBE}" not in text, f"{_PROBE}\n " not in text


#: Names that published vocabularies give to tokens meant for padding, or left unused.
_PAD_NAMES = (
    "<|finetune_right_pad_id|>",
    "<|pad|>",
    "<pad>",
    "[PAD]",
    "<|endoftext|>",
    "<unk>",
    "<|reserved_special_token_0|>",
)


def ensure_pad_token(tokenizer: Any) -> None:
    """Give a tokenizer without padding a token from its own vocabulary, never the one that ends an answer."""
    if tokenizer.pad_token is not None:
        return
    _choose_pad(tokenizer, not_this=tokenizer.eos_token_id)


def ensure_pad_differs(tokenizer: Any, end_of_turn: int | None) -> None:
    """Padding with the end-of-turn token would hide from the model where an answer ends."""
    if end_of_turn is not None and tokenizer.pad_token_id == end_of_turn:
        _choose_pad(tokenizer, not_this=end_of_turn)


def _choose_pad(tokenizer: Any, not_this: int | None) -> None:
    vocabulary = tokenizer.get_vocab()
    spare = [name for name in vocabulary if "reserved" in name or "unused" in name]
    for name in (*_PAD_NAMES, *sorted(spare), *tokenizer.all_special_tokens):
        if name in vocabulary and vocabulary[name] != not_this:
            tokenizer.pad_token = name
            return
    raise ValueError(_NOT_PAD)

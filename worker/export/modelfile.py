"""Ollama's Modelfile for a GGUF, and the `template` and `params` files that `ollama run hf.co/…` reads.

Ollama 0.30 and later use the Jinja template inside the GGUF: `FROM` and the stop words are enough. Older ones want a
Go template; one is derived here by rendering the Jinja template with marks in place of the texts and cutting out what
stands between them. Pure: jinja2 only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_SYSTEM, _USER, _ANSWER, _AGAIN = "①SYS①", "①USR①", "①AST①", "①USB①"
_MARKER = re.compile(r"<[|｜]?[^<>\s]{2,40}[|｜]?>|\[/?[A-Z_]{3,20}\]")
#: Part of an answer, not its end.
_NEVER_STOP = frozenset({"<think>", "</think>"})

Render = Callable[[list[dict[str, str]]], str]


class _Generation(Extension):
    """`{% generation %}` marks what is trained on; it writes nothing by itself."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> Node:
        """The block's body, as if the tag were not there."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_as_is"), [], [], body).set_lineno(line)

    @staticmethod
    def _as_is(caller: Callable[[], str]) -> str:
        return caller()


@dataclass(frozen=True)
class Parts:
    """A chat template as text around texts: `head USER to_answer ANSWER between USER to_answer …`."""

    head: str
    to_answer: str
    before_answer: str
    between: str
    #: What stands around a system message (instead of `head`); None: the template takes none.
    system: tuple[str, str] | None = None


def parts_of(template: str, bos: str = "", eos: str = "") -> Parts | None:
    """Take `template` apart; None when it is not plain text around the messages.

    `bos` is the token's text where llama.cpp sets that token itself, else empty.
    """
    try:
        render = _renderer(template, bos, eos)
        one = render([_turn("user", _USER)])
        two = render([_turn("user", _USER), _turn("assistant", _ANSWER), _turn("user", _AGAIN)])
    except (TemplateError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if one.count(_USER) != 1 or two.count(_USER) != 1 or two.count(_ANSWER) != 1 or two.count(_AGAIN) != 1:
        return None
    head, to_answer = one.split(_USER)
    second_head, rest = two.split(_USER)
    before_answer, _, rest = rest.partition(_ANSWER)
    between, _, end = rest.partition(_AGAIN)
    if second_head != head or end != to_answer:
        return None
    return Parts(head, to_answer, before_answer, between, _system_of(render, to_answer))


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _renderer(source: str, bos: str, eos: str) -> Render:
    """Jinja as transformers sets it up for chat templates; `bos` is cut off again, since llama.cpp adds it itself."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    env.globals |= {"raise_exception": refuse, "strftime_now": lambda _format: "2026-01-01"}
    env.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    template = env.from_string(source)

    def render(messages: list[dict[str, str]]) -> str:
        values: dict[str, Any] = {"messages": messages, "add_generation_prompt": True, "tools": None}
        text = template.render(bos_token=bos, eos_token=eos, **values)
        return text.removeprefix(bos) if bos else text

    return render


def _system_of(render: Render, to_answer: str) -> tuple[str, str] | None:
    try:
        text = render([_turn("system", _SYSTEM), _turn("user", _USER)])
    except TemplateError:
        return None
    if text.count(_SYSTEM) != 1 or text.count(_USER) != 1 or text.index(_SYSTEM) > text.index(_USER):
        return None
    before, rest = text.split(_SYSTEM)
    after, end = rest.split(_USER)
    return (before, after) if end == to_answer else None


def go_template(parts: Parts) -> str:
    """The same as a Go template over Ollama's `.System` and `.Messages`; all text literal, no whitespace trimming."""
    start = _go(parts.head)
    if parts.system:
        before, after = parts.system
        start = "{{ if $.System }}" + _go(before) + "{{ $.System }}" + _go(after) + "{{ else }}" + start + "{{ end }}"
    return (
        '{{ $first := true }}{{ range .Messages }}{{ if eq .Role "user" }}'
        "{{ if $first }}{{ $first = false }}" + start + "{{ else }}" + _go(parts.between) + "{{ end }}{{ .Content }}"
        '{{ else if eq .Role "assistant" }}' + _go(parts.before_answer) + "{{ .Content }}{{ end }}{{ end }}"
        "" + _go(parts.to_answer)
    )


def _go(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}')


def stop_words(parts: Parts | None, eos: str) -> list[str]:
    """What ends an answer: the end-of-text token and the markers between turns, shortest first."""
    found = set(_MARKER.findall(parts.between + parts.to_answer)) if parts else set()
    return sorted((found | ({eos} if eos else set())) - _NEVER_STOP, key=lambda word: (len(word), word))


def modelfile(gguf_name: str, stops: list[str], template: str | None = None) -> str:
    """The text of a Modelfile beside `gguf_name`; with `template` (Go) for Ollama older than 0.30."""
    lines = [f"FROM ./{gguf_name}"]
    if template is not None:
        lines.append(f'TEMPLATE """{template}"""')
    lines += [f"PARAMETER stop {json.dumps(word, ensure_ascii=False)}" for word in stops]
    return "\n".join(lines) + "\n"

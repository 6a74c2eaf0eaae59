"""`python -m worker.export.llama_side ASK.json ANSWER.json`: a GGUF loaded and asked by real llama.cpp.

A process of its own: a native crash ends it alone, and its memory goes back when it ends. Imports no torch.
"""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.core.process import die_with_parent


class AskedPrompt(BaseModel):
    """One question: the messages (for the template inside the file) and the tokens the tuned model reads."""

    messages: list[dict[str, Any]]
    text: str
    ids: list[int]


class Ask(BaseModel):
    """What the proof wants to know of `model`."""

    model: Path
    prompts: list[AskedPrompt]
    threads: int = 1
    max_new_tokens: int = 48
    top: int = 20


class Step(BaseModel):
    """One generated token, and the log-probabilities of the `top` most likely tokens in its place."""

    id: int
    top: list[tuple[int, float]]


class Reply(BaseModel):
    """llama.cpp's view of one question."""

    template: str
    tokens: list[int]
    steps: list[Step]
    text: str


class Answer(BaseModel):
    """What came back. `build` names the llama.cpp that was used."""

    build: str
    load_seconds: float
    replies: list[Reply]


#: In the working directory: a socket's name may have about 100 bytes.
_SOCKET = "llama.sock"
_PATIENCE = 3600


class _Connection(http.client.HTTPConnection):
    """HTTP over the Unix socket: where a job has left the network, not even loopback is there."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(_SOCKET)


class _Server:
    """xllamacpp's server on a Unix socket, behind a key that only this process knows."""

    def __init__(self, ask: Ask) -> None:
        import xllamacpp

        self.build = str(xllamacpp.BUILD_INFO)
        self._key = secrets.token_hex(16)
        params = xllamacpp.CommonParams()
        params.model.path = str(ask.model)
        params.n_ctx = max(256, max(len(p.ids) for p in ask.prompts) + ask.max_new_tokens + 16)
        params.n_parallel = 1
        params.n_gpu_layers = 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = ask.threads
        params.warmup = False
        params.use_jinja = True
        params.verbosity = 0
        params.hostnames = [_SOCKET]
        Path(_SOCKET).unlink(missing_ok=True)
        params.api_keys = [self._key]
        self._server = xllamacpp.Server(params)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """One call; an HTTP error is an exception with llama.cpp's own words."""
        connection = _Connection("localhost")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        connection.request("POST", path, json.dumps(body).encode(), headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status != http.client.OK:
            raise RuntimeError(f"{path}: {answer.decode(errors='replace')[:1000]}")
        return json.loads(answer)


def _reply(server: _Server, ask: Ask, prompt: AskedPrompt) -> Reply:
    template = server.post("/apply-template", {"messages": prompt.messages})["prompt"]
    tokens = server.post("/tokenize", {"content": template, "add_special": True, "parse_special": True})["tokens"]
    done = server.post(
        "/completion",
        {
            "prompt": prompt.ids,
            "n_predict": ask.max_new_tokens,
            "temperature": 0,
            "n_probs": ask.top,
            "cache_prompt": False,
            "return_tokens": True,
        },
    )
    steps = [
        Step(id=one["id"], top=[(t["id"], t["logprob"]) for t in one["top_logprobs"]])
        for one in done.get("completion_probabilities", [])
    ]
    return Reply(template=template, tokens=tokens, steps=steps, text=done["content"])


def main() -> None:
    """Load, ask, write the answer; one line of progress per question."""
    die_with_parent(signal.SIGKILL)
    ask = Ask.model_validate_json(Path(sys.argv[1]).read_bytes())
    started = time.monotonic()
    server = _Server(ask)
    loaded = time.monotonic() - started
    replies = []
    for number, prompt in enumerate(ask.prompts, start=1):
        replies.append(_reply(server, ask, prompt))
        print(f"asked {number}/{len(ask.prompts)}", flush=True)  # noqa: T201 - read by the parent
    answer = Answer(build=server.build, load_seconds=loaded, replies=replies)
    Path(sys.argv[2]).write_text(answer.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    main()

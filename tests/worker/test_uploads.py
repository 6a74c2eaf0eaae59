"""Checkpoints on their way to shared storage: which go there, which stay, and none lost to a slow network."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

import pytest

from app.core.context import Context
from app.core.storage import StorageError
from app.domain.jobs import checkpoints
from app.domain.jobs.models import Job
from tests import services
from tests.worker.conftest import NOWHERE, NewHost
from tests.worker.test_shared_storage import content
from worker import transfers
from worker.recorder import Recorder
from worker.trainer import protocol


def test_a_scheduled_checkpoint_that_can_not_be_uploaded_does_not_count(
    new_host: NewHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "PAUSES", ())
    ctx = new_host("a", s3_endpoint=NOWHERE)
    publisher, made = publisher_of(ctx)
    (said,) = publisher.publish([made(1, "schedule")])
    assert isinstance(said, protocol.Log)
    assert "step 1 does not count. The storage s3://" in said.message
    with pytest.raises(StorageError):
        publisher.publish([made(2, "pause")])


def test_only_the_newest_two_checkpoints_and_the_best_stay_on_s3(new_host: NewHost) -> None:
    ctx = new_host("a")
    publisher, made = publisher_of(ctx)
    recorder = publisher._recorder
    with ctx.db.session(write=True) as session:
        session.add(Job(id=7, attempt=1, state="running", kind="train", subject_id=1, queue="gpu", name="x"))
    for tail, step in enumerate((1, 2, 3, 4, 5, 7)):
        batch = [made(6, "schedule")] if step == 7 else []
        event = made(step, "schedule").model_copy(update={"eval_loss": abs(step - 2) + 0.5})
        events = publisher.publish([*batch, event])
        assert [event.kind for event in events] == ["log", "checkpoint"][-len(events) :]
        with ctx.db.session(write=True) as session:
            old = recorder.store(session, events, tail, tail + 1)
        publisher.drop(old)
    other = new_host("b").storage
    there = [step for step in range(1, 8) if other.ensure(f"runs/7/a1/checkpoints/checkpoint-{step}").exists()]
    assert there == [2, 5, 7]
    assert not ctx.storage.path("runs/7/a1/checkpoints/checkpoint-4").exists()
    with ctx.db.session() as session:
        rows = [(row.step, row.best) for row in checkpoints.of_job(session, 7)]
    assert rows == [(7, False), (5, False), (2, True)]


def test_of_checkpoints_that_come_together_the_best_is_uploaded_with_the_newest(new_host: NewHost) -> None:
    publisher, made = publisher_of(new_host("a"))
    batch = [made(step, "schedule").model_copy(update={"eval_loss": abs(step - 3) + 1.0}) for step in range(1, 6)]
    assert [event.kind for event in publisher.publish(list(batch))] == ["log", "log", "checkpoint", "log", "checkpoint"]
    later = [made(step, "schedule").model_copy(update={"eval_loss": 2.0}) for step in (6, 7)]
    assert [event.kind for event in publisher.publish(list(later))] == ["log", "checkpoint"]


def test_a_checkpoint_that_is_pruned_while_it_is_uploaded_counts_all_the_same(new_host: NewHost) -> None:
    with Gate(services.s3_url()) as gate:
        ctx = new_host("a", s3_endpoint=gate.url)
        publisher, made = publisher_of(ctx)
        event = made(3, "schedule")
        folder = ctx.storage.path("runs/7/a1/checkpoints/checkpoint-3")

        def prune() -> None:
            assert gate.knocked.wait(60)
            shutil.rmtree(folder)
            gate.open.set()

        pruner = threading.Thread(target=prune, daemon=True)
        pruner.start()
        assert publisher.publish([event]) == [event]
        pruner.join()
    assert not folder.exists()
    assert not (folder.parents[1] / ".uploading").exists()
    there = new_host("b").storage.ensure("runs/7/a1/checkpoints/checkpoint-3")
    assert content(there) == {"weights": hashlib.sha256(b"w").hexdigest()}


class Gate:
    """A way to the server of `url` that lets nothing through before it is opened."""

    def __init__(self, url: str) -> None:
        self._target = (urlsplit(url).hostname, urlsplit(url).port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self.knocked, self.open = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._door.accept()
                self.knocked.set()
                threading.Thread(target=self._pass, args=(caller,), daemon=True).start()

    def _pass(self, caller: socket.socket) -> None:
        self.open.wait(60)
        with socket.create_connection(self._target) as server, caller:
            back = threading.Thread(target=self._pump, args=(server, caller), daemon=True)
            back.start()
            self._pump(caller, server)
            back.join()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def publisher_of(ctx: Context) -> tuple[transfers.Publisher, Callable[[int, str], protocol.Checkpoint]]:
    recorder = Recorder(ctx, Job(id=7, attempt=1, kind="train", subject_id=1, queue="gpu", name="x"))

    def made(step: int, reason: str) -> protocol.Checkpoint:
        path = f"checkpoints/checkpoint-{step}"
        ctx.storage.make_parent(f"runs/7/a1/{path}/weights").write_bytes(b"w")
        return protocol.Checkpoint.model_validate({"step": step, "path": path, "size": 1, "reason": reason})

    return transfers.Publisher(ctx, recorder, lambda: None), made

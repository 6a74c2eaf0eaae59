"""A job's end becomes a message in the same transaction, sent at least once, by one sender at a time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import col

from app.core.context import Context
from app.domain.deliveries import outbox, service, setup, signature
from app.domain.deliveries.models import AT_ONCE, Channel, Delivery, DeliveryState
from app.domain.errors import InvalidError
from app.domain.jobs import fence
from app.domain.jobs import service as jobs
from app.domain.jobs.states import JobKind, JobState
from app.domain.secrets.models import Secret
from tests.deliveries.receivers import HookServer
from worker.postman import Postman

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def webhook(ctx: Context, url: str, ends: tuple[str, ...] = ("succeeded", "failed", "cancelled")) -> None:
    with ctx.db.session(write=True) as session:
        setup.save(session, Channel.WEBHOOK, {"url": url, "ends": ends})
        setup.set_signing_secret(session, ctx.settings, SECRET)


def ended(ctx: Context, state: JobState = JobState.SUCCEEDED, kind: JobKind = JobKind.TRAIN) -> int:
    """A job that a worker has brought to its end."""
    error = {"class": "out_of_memory", "message": "The GPU is full.", "advice": "Take less.", "traceback": "secret"}
    with ctx.db.session(write=True) as session:
        job = jobs.enqueue(session, ctx.bells, kind=kind, subject_id=1, name="süß “tune”\nBcc: x", config={})
        claimed = jobs.claim(session, job.queue, "w")
        assert claimed is not None
        own = fence.Ownership(claimed.id or 0, claimed.attempt)
        if state == JobState.FAILED:
            fence.fail(session, own, error)
        else:
            fence.finish(session, own, "succeeded")
        return claimed.id or 0


def messages(ctx: Context) -> list[Delivery]:
    with ctx.db.session() as session:
        return service.newest(session)[::-1]


def send_all(ctx: Context) -> int:
    postman, count = Postman(ctx), 0
    while postman.send_one():
        count += 1
    return count


def hurry(ctx: Context) -> None:
    """As if the wait were over."""
    with ctx.db.session(write=True) as session:
        session.execute(sa.update(Delivery).values(next_at=AT_ONCE))


def test_a_signature_is_the_one_of_standard_webhooks() -> None:
    """The vector was made by the project's own library."""
    made = signature.headers_of(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_end_of_a_job_arrives_signed(open_ctx: Context, hook: HookServer) -> None:
    webhook(open_ctx, hook.url)
    job_id = ended(open_ctx, JobState.FAILED)
    assert send_all(open_ctx) == 1
    [(path, headers, body)] = hook.got
    assert path == "/hook?x=1"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 600
    told = json.loads(body)
    assert told["type"] == "job.failed"
    assert told["data"]["url"] == f"https://tunes.example.org/jobs/{job_id}"
    assert told["data"]["job"]["error"]["message"] == "The GPU is full."
    assert b"secret" not in body
    [row] = messages(open_ctx)
    assert (row.state, row.tries[0]["status"]) == (DeliveryState.DELIVERED, 204)


def test_a_message_is_written_with_the_end_or_not_at_all(any_ctx: Context) -> None:
    webhook(any_ctx, "https://example.org/")
    with any_ctx.db.session(write=True) as session:
        job = jobs.enqueue(session, any_ctx.bells, kind=JobKind.TRAIN, subject_id=1, name="n", config={})
        jobs.cancel(session, any_ctx.bells, job.id or 0)
        assert len(service.newest(session)) == 1
        session.rollback()
    assert messages(any_ctx) == []


def test_only_the_ends_and_kinds_that_were_asked_for(any_ctx: Context) -> None:
    webhook(any_ctx, "https://example.org/", ("failed",))
    ended(any_ctx, JobState.SUCCEEDED)
    ended(any_ctx, JobState.FAILED, JobKind.AUDIT)
    ended(any_ctx, JobState.FAILED, JobKind.EXPORT)
    assert [(row.event, row.payload["data"]["path"]) for row in messages(any_ctx)] == [("job.failed", "/jobs/1")]


def test_what_does_not_get_through_is_tried_again_with_the_same_number(open_ctx: Context, hook: HookServer) -> None:
    webhook(open_ctx, hook.url)
    hook.statuses = [500, 429, 200]
    ended(open_ctx)
    for waiting in (2, 1):
        assert send_all(open_ctx) == 1, waiting
        assert send_all(open_ctx) == 0, "it waits"
        assert messages(open_ctx)[0].state == DeliveryState.WAITING
        hurry(open_ctx)
    assert send_all(open_ctx) == 1
    [row] = messages(open_ctx)
    assert row.state == DeliveryState.DELIVERED
    assert [each["status"] for each in row.tries] == [500, 429, 200]
    assert len({headers["webhook-id"] for _, headers, _ in hook.got}) == 1


def test_it_is_given_up_after_the_last_wait_and_can_be_sent_again(open_ctx: Context, hook: HookServer) -> None:
    webhook(open_ctx, hook.url)
    hook.statuses = [503]
    ended(open_ctx)
    for _ in range(len(service.WAITS) + 1):
        assert send_all(open_ctx) == 1
        hurry(open_ctx)
    assert send_all(open_ctx) == 0
    [row] = messages(open_ctx)
    assert (row.state, len(row.tries)) == (DeliveryState.FAILED, len(service.WAITS) + 1)
    with open_ctx.db.session(write=True) as session:
        service.again(session, row.id or 0)
    assert send_all(open_ctx) == 1
    assert messages(open_ctx)[0].state == DeliveryState.WAITING, "all waits are open again"


@pytest.mark.parametrize("status", [302, 308, 410])
def test_a_redirect_is_not_followed_and_gone_is_gone(open_ctx: Context, hook: HookServer, status: int) -> None:
    webhook(open_ctx, hook.url)
    hook.statuses, hook.headers = [status], {"location": hook.url}
    ended(open_ctx)
    assert send_all(open_ctx) == 1
    [row] = messages(open_ctx)
    assert (row.state, row.tries[0]["status"], len(hook.got)) == (DeliveryState.FAILED, status, 1)


def test_two_senders_never_send_the_same_at_once(open_ctx: Context, hook: HookServer) -> None:
    webhook(open_ctx, hook.url)
    for _ in range(6):
        ended(open_ctx)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send_all, [open_ctx] * 4))
    numbers = [headers["webhook-id"] for _, headers, _ in hook.got]
    assert len(numbers) == len(set(numbers)) == 6


def test_a_sender_that_died_leaves_its_message_to_the_next(open_ctx: Context, hook: HookServer) -> None:
    webhook(open_ctx, hook.url)
    ended(open_ctx)
    with open_ctx.db.session(write=True) as session:
        dead = service.claim(session, service.due(session) or 0)
    assert dead is not None
    assert send_all(open_ctx) == 0, "the claim holds"
    hurry(open_ctx)
    assert send_all(open_ctx) == 1
    with open_ctx.db.session(write=True) as session:
        late: dict[str, Any] = {"at": "2026-01-01T00:00:00", "target": "", "status": 500, "answer": "", "seconds": 1}
        assert not service.settle(session, dead, late, ok=False), "it belongs to another attempt"
    assert messages(open_ctx)[0].state == DeliveryState.DELIVERED


def test_a_way_that_was_switched_off_sends_nothing(open_ctx: Context, hook: HookServer) -> None:
    webhook(open_ctx, hook.url)
    ended(open_ctx)
    with open_ctx.db.session(write=True) as session:
        setup.remove(session, Channel.WEBHOOK)
        assert session.get(Secret, "webhook_secret") is None
    assert send_all(open_ctx) == 1
    assert (messages(open_ctx)[0].state, hook.got) == (DeliveryState.FAILED, [])


def test_old_messages_are_forgotten(any_ctx: Context) -> None:
    webhook(any_ctx, "https://example.org/")
    with any_ctx.db.session(write=True) as session:
        old, new = (outbox.test_message(session, Channel.WEBHOOK).id for _ in range(2))
        settled = {"state": DeliveryState.FAILED, "settled_at": AT_ONCE}
        session.execute(sa.update(Delivery).where(col(Delivery.id) == old).values(**settled))
        service.forget_old(session)
    assert [row.id for row in messages(any_ctx)] == [new]


@pytest.mark.parametrize("url", ["ftp://a/", "https://", "javascript:alert(1)", "http://a b/", "http://u:p@h/", ""])
def test_what_is_no_address_is_refused_in_words(ctx: Context, url: str) -> None:
    with ctx.db.session(write=True) as session, pytest.raises(InvalidError) as caught:
        setup.save(session, Channel.WEBHOOK, {"url": url})
    assert caught.value.errors["url"].endswith(".")


def test_secrets_are_encrypted(ctx: Context) -> None:
    webhook(ctx, "https://example.org/")
    with ctx.db.session(write=True) as session:
        setup.keep_password(session, ctx.settings, "pass word")
        kept = [session.get_one(Secret, name) for name in ("webhook_secret", "smtp_password")]
        assert all(b"whsec" not in row.ciphertext and b"pass" not in row.ciphertext for row in kept)
        assert [row.hint for row in kept] == ["", ""]

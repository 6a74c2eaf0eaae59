"""Mail over a real server: what it says, how it logs in, what is refused."""

from __future__ import annotations

import email
import email.policy
from pathlib import Path
from typing import Any

import pytest

from app.core.context import Context
from app.domain.deliveries import setup
from app.domain.deliveries.models import Channel, DeliveryState
from app.domain.errors import InvalidError
from app.domain.jobs.states import JobState
from tests.deliveries.receivers import MailServer, certificate, mail_server
from tests.deliveries.test_deliveries import ended, hurry, messages, send_all

BASE = {"host": "127.0.0.1", "sender": "tunedeck@example.org", "recipients": ("a@example.org", "b@example.org")}


def by_mail(ctx: Context, port: int, password: str = "", **values: Any) -> None:
    with ctx.db.session(write=True) as session:
        setup.save(session, Channel.EMAIL, BASE | {"port": port, "security": "none"} | values)
        setup.keep_password(session, ctx.settings, password)


def test_the_end_of_a_job_arrives_as_mail(open_ctx: Context, mail: MailServer) -> None:
    by_mail(open_ctx, mail.port)
    job_id = ended(open_ctx, JobState.FAILED)
    assert send_all(open_ctx) == 1
    [envelope] = mail.got
    assert envelope.rcpt_tos == ["a@example.org", "b@example.org"]
    message = email.message_from_bytes(envelope.original_content or b"", policy=email.policy.default)
    assert message["Subject"] == "The training “süß “tune” Bcc: x” has failed."
    assert message["Bcc"] is None
    assert messages(open_ctx)[0].message_id in message["Message-ID"]
    text = message.get_content()
    for part in ("The GPU is full.", "Take less.", f"https://tunes.example.org/jobs/{job_id}"):
        assert part in text


def test_encrypted_and_with_a_password(open_ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with mail_server(context, password="pass word") as server:
        by_mail(open_ctx, server.port, "pass word", security="starttls", user="tunedeck")
        ended(open_ctx)
        assert send_all(open_ctx) == 1
        assert messages(open_ctx)[0].state == DeliveryState.DELIVERED, messages(open_ctx)[0].tries
        assert (server.logins, len(server.got)) == ([("tunedeck", "pass word")], 1)


def test_a_wrong_password_is_not_tried_again(
    open_ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with mail_server(context, password="right") as server:
        by_mail(open_ctx, server.port, "wrong", security="starttls", user="tunedeck")
        ended(open_ctx)
        assert send_all(open_ctx) == 1
    [row] = messages(open_ctx)
    assert (row.state, row.tries[0]["status"]) == (DeliveryState.FAILED, 535)


def test_an_untrusted_server_gets_no_password(open_ctx: Context, tmp_path: Path) -> None:
    context, _ = certificate(tmp_path)
    with mail_server(context, password="right") as server:
        by_mail(open_ctx, server.port, "right", security="starttls", user="tunedeck")
        ended(open_ctx)
        assert send_all(open_ctx) == 1
        assert server.logins == []
    assert "certificate" in messages(open_ctx)[0].tries[0]["answer"]


@pytest.mark.parametrize(
    "said, state", [("451 Come back later", DeliveryState.WAITING), ("554 No", DeliveryState.FAILED)]
)
def test_what_the_server_refuses_is_shown(open_ctx: Context, mail: MailServer, said: str, state: DeliveryState) -> None:
    mail.refuses = said
    by_mail(open_ctx, mail.port)
    ended(open_ctx)
    assert send_all(open_ctx) == 1
    [row] = messages(open_ctx)
    assert (row.state, f"{row.tries[0]['status']} {row.tries[0]['answer']}") == (state, said)
    if state == DeliveryState.WAITING:
        mail.refuses = ""
        hurry(open_ctx)
        send_all(open_ctx)
        assert len(mail.got) == 1


def test_mail_goes_to_public_servers_only(any_ctx: Context, mail: MailServer) -> None:
    by_mail(any_ctx, mail.port)
    ended(any_ctx)
    assert send_all(any_ctx) == 1
    assert (messages(any_ctx)[0].state, mail.got) == (DeliveryState.FAILED, [])


def test_a_password_that_can_not_be_sent_is_refused_at_once(ctx: Context) -> None:
    with ctx.db.session(write=True) as session, pytest.raises(InvalidError) as caught:
        setup.keep_password(session, ctx.settings, "pass wörd")
    assert "password" in caught.value.errors


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "smtp example"},
        {"port": "0"},
        {"security": "some"},
        {"sender": "me"},
        {"sender": "a@b.org\nBcc: c@d.org"},
        {"recipients": ()},
        {"recipients": ("a@b.org", "c")},
        {"user": "me", "security": "none"},
        {"ends": ()},
    ],
)
def test_each_wrong_answer_has_its_sentence(ctx: Context, wrong: dict[str, Any]) -> None:
    with ctx.db.session(write=True) as session, pytest.raises(InvalidError) as caught:
        setup.save(session, Channel.EMAIL, BASE | wrong)
    [(name, sentence)] = caught.value.errors.items()
    assert name in wrong
    assert sentence.endswith((".", "465."))

"""The page that sets up messages, for people who can't program."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from app.core.context import Context
from app.domain.deliveries import service, setup
from app.domain.deliveries.models import Channel, DeliveryState
from app.domain.secrets import service as secrets
from tests.web import seeding

HERE = "/settings/notifications"
HOOK = {"url": "https://example.org/hook", "ends": "failed"}
MAIL = {
    "host": "smtp.example.org",
    "port": "465",
    "security": "tls",
    "user": "me",
    "password": "app password",
    "sender": "me@example.org",
    "recipients": "a@example.org; b@example.org,",
    "ends": "failed",
}


def test_a_fresh_webhook_shows_its_secret_once(client: TestClient, ctx: Context) -> None:
    answer = client.post(f"{HERE}/webhook", data=HOOK)
    assert answer.status_code == 200
    [secret] = set(re.findall(r"whsec_[\w+/=]{40,}", answer.text))
    with ctx.db.session() as session:
        assert secrets.get_secret(session, ctx.settings, setup.SECRETS[Channel.WEBHOOK]) == secret
    assert secret not in client.get(HERE).text
    assert client.post(f"{HERE}/webhook", data=HOOK).status_code == 303, "it keeps its secret"
    assert secret not in client.post(f"{HERE}/webhook/secret").text


def test_a_given_secret_is_kept_and_a_wrong_one_refused(client: TestClient, ctx: Context) -> None:
    refused = client.post(f"{HERE}/webhook", data=HOOK | {"signing_secret": "abc"})
    assert refused.status_code == 422
    assert "whsec_" in refused.text
    with ctx.db.session() as session:
        assert setup.find(session, Channel.WEBHOOK) is None, "nothing is kept by halves"
    given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert client.post(f"{HERE}/webhook", data=HOOK | {"signing_secret": given}).status_code == 303


def test_mail_is_kept_and_its_password_never_shown(client: TestClient, ctx: Context) -> None:
    assert client.post(f"{HERE}/email", data=MAIL).status_code == 303
    page = client.get(HERE).text
    assert "a@example.org, b@example.org" in page
    assert "app password" not in page.replace("“app password”", "")
    client.post(f"{HERE}/email", data=MAIL | {"password": "", "port": "587"})
    with ctx.db.session() as session:
        assert secrets.get_secret(session, ctx.settings, "smtp_password") == "app password"
        kept = setup.find(session, Channel.EMAIL)
    assert isinstance(kept, setup.EmailConfig)
    assert (kept.port, kept.ends) == (587, ("failed",))


@pytest.mark.parametrize("wrong", [{"port": "many"}, {"sender": ""}, {"recipients": ""}, {"password": "ö"}])
def test_what_was_typed_stays_with_its_error(client: TestClient, wrong: dict[str, str]) -> None:
    answer = client.post(f"{HERE}/email", data=MAIL | wrong)
    assert answer.status_code == 422
    assert "smtp.example.org" in answer.text
    assert answer.text.count('aria-invalid="true"') == 1


def test_a_test_takes_the_real_way(client: TestClient, ctx: Context) -> None:
    assert client.post(f"{HERE}/email/test").status_code == 409, "there is nothing to test yet"
    client.post(f"{HERE}/email", data=MAIL)
    assert client.post(f"{HERE}/email/test").status_code == 303
    assert "as soon as a worker is free" in client.get(HERE).text
    with ctx.db.session() as session:
        assert service.due(session) is not None
    assert client.post(f"{HERE}/pigeon/test").status_code == 404


def test_a_failed_message_is_shown_and_sent_again(client: TestClient, ctx: Context) -> None:
    with ctx.db.session(write=True) as session:
        seeding.notifications(session, ctx)
    page = client.get(HERE).text
    assert "&lt;b&gt;gone&lt;/b&gt;" in page
    [failed] = re.findall(r"messages/(\d+)/again", page)
    assert client.post(f"{HERE}/messages/{failed}/again").status_code == 303
    with ctx.db.session() as session:
        assert service.newest(session)[0].state == DeliveryState.WAITING
    assert client.post(f"{HERE}/messages/{failed}/again").status_code == 409
    assert client.post(f"{HERE}/messages/999/again").status_code == 404


def test_switching_off_forgets_the_secret(client: TestClient, ctx: Context) -> None:
    client.post(f"{HERE}/email", data=MAIL)
    client.post(f"{HERE}/email/delete")
    with ctx.db.session() as session:
        assert secrets.find_secret(session, "smtp_password") is None
        assert setup.find(session, Channel.EMAIL) is None

"""Stored secrets: the key that opens them, and another one in its place."""

from __future__ import annotations

import contextlib
import stat

import pytest
from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr
from typer.testing import CliRunner

from app.cli import app
from app.core.context import Context, make_context
from app.core.settings import get_settings
from app.domain.errors import ConflictError
from app.domain.secrets import service
from app.domain.secrets.models import Secret


def keep(ctx: Context, value: str = "hf_abcdefghijklmnop") -> bytes:
    with ctx.db.session(write=True) as session:
        service.set_secret(session, ctx.settings, "hub_token", value)
        return session.get_one(Secret, "hub_token").ciphertext


def kept(ctx: Context) -> str:
    with ctx.db.session() as session:
        return service.get_secret(session, ctx.settings, "hub_token")


def rotate(ctx: Context) -> tuple[int, str]:
    with ctx.db.session(write=True) as session:
        found = service.rotate(session, ctx.settings)
    service.forget_old_key(ctx.settings)
    return found


def test_rotation_leaves_nothing_that_the_old_key_opens(ctx: Context) -> None:
    keep(ctx)
    file = ctx.settings.root / "secret.key"
    old = file.read_bytes()
    assert rotate(ctx) == (1, "")
    assert kept(ctx) == "hf_abcdefghijklmnop"
    assert file.read_bytes() != old
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with ctx.db.session() as session, pytest.raises(InvalidToken):
        Fernet(old).decrypt(session.get_one(Secret, "hub_token").ciphertext)


def test_a_rotation_that_breaks_off_loses_nothing(ctx: Context) -> None:
    keep(ctx)
    with contextlib.suppress(RuntimeError), ctx.db.session(write=True) as session:
        service.rotate(session, ctx.settings)
        raise RuntimeError  # the machine goes down before the commit
    assert kept(ctx) == "hf_abcdefghijklmnop"
    with ctx.db.session(write=True) as session:
        service.rotate(session, ctx.settings)
    assert kept(ctx) == "hf_abcdefghijklmnop"  # or after it, before the old key is forgotten
    rotate(ctx)
    assert len((ctx.settings.root / "secret.key").read_text().split()) == 1


def test_a_key_of_the_environment_is_printed_anew(ctx: Context) -> None:
    key = SecretStr(service.new_key())
    given = make_context(ctx.settings.model_copy(update={"secret_key": key}))
    keep(given)
    count, new = rotate(given)
    assert (count, bool(new)) == (1, True)
    with pytest.raises(ConflictError, match="Enter it again"):
        kept(given)
    assert kept(make_context(ctx.settings.model_copy(update={"secret_key": SecretStr(new)}))) == "hf_abcdefghijklmnop"
    assert not (ctx.settings.root / "secret.key").exists()
    given.db.dispose()


def test_a_key_that_is_none_is_a_sentence(ctx: Context) -> None:
    wrong = make_context(ctx.settings.model_copy(update={"secret_key": SecretStr("my password")}))
    with pytest.raises(ConflictError, match="new-key"):
        keep(wrong)
    wrong.db.dispose()


def test_the_commands(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEDECK_DATA_DIR", str(ctx.settings.root))
    monkeypatch.setenv("TUNEDECK_WEB__ACCOUNTS", "true")
    get_settings.cache_clear()
    keep(ctx)

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(words))
        return done.exit_code, done.output

    try:
        assert run("secrets", "rotate")[1].startswith("1 secrets were encrypted anew")
        Fernet(run("secrets", "new-key")[1].strip())
        assert "/welcome?key=" in run("people", "link")[1]
        assert "/welcome?key=" in run("people", "add", "ada", "--role", "administrator")[1]
        assert run("people", "add", "ADA")[0] == 1
        assert run("people", "link", "nobody")[0] == 1
        assert "administrator  ada  no password yet" in run("people", "list")[1]
    finally:
        get_settings.cache_clear()

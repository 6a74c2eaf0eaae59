"""Stored secrets: the key that opens them, and another one in its place."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr
from typer.testing import CliRunner

from app.cli import app
from app.core.context import Context, make_context
from app.core.settings import get_settings
from app.domain.errors import ConflictError
from app.domain.secrets import rotation, service
from app.domain.secrets.models import Secret
from app.domain.secrets.rotation import rotate


def keep(ctx: Context, value: str = "hf_abcdefghijklmnop") -> bytes:
    with ctx.db.session(write=True) as session:
        service.set_secret(session, ctx.settings, "hub_token", value)
        return session.get_one(Secret, "hub_token").ciphertext


def kept(ctx: Context) -> str:
    with ctx.db.session() as session:
        return service.get_secret(session, ctx.settings, "hub_token")


def test_rotation_leaves_nothing_that_the_old_key_opens(ctx: Context) -> None:
    keep(ctx)
    file = ctx.settings.root / "secret.key"
    old = file.read_bytes()
    assert rotate(ctx) == 1
    assert kept(ctx) == "hf_abcdefghijklmnop"
    assert file.read_bytes() != old
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with ctx.db.session() as session, pytest.raises(InvalidToken):
        Fernet(old).decrypt(session.get_one(Secret, "hub_token").ciphertext)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_rotation_that_breaks_off_loses_nothing(ctx: Context, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    keep(ctx)
    real = rotation._encrypt_anew

    def broken(*given: Any) -> int:
        if moment == "after":
            real(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(rotation, "_encrypt_anew", broken)
    with pytest.raises(KeyboardInterrupt):
        rotate(ctx)
    assert kept(ctx) == "hf_abcdefghijklmnop"
    monkeypatch.undo()
    rotate(ctx)
    assert kept(ctx) == "hf_abcdefghijklmnop"
    assert len((ctx.settings.root / "secret.key").read_text().split()) == 1


def test_many_at_once_lose_nothing(any_ctx: Context) -> None:
    keep(any_ctx)

    def one(_n: int) -> str:
        try:
            return str(rotate(any_ctx))
        except ConflictError as exc:
            return exc.message

    with ThreadPoolExecutor(4) as pool:
        said = set(pool.map(one, range(8)))
    assert "1" in said
    assert kept(any_ctx) == "hf_abcdefghijklmnop"


def test_a_key_of_the_environment_is_changed_with_both_at_hand(ctx: Context) -> None:
    old, new = service.new_key(), service.new_key()

    def house(keys: str) -> Context:
        return make_context(ctx.settings.model_copy(update={"secret_key": SecretStr(keys)}))

    keep(house(old))
    with pytest.raises(ConflictError, match="Put a new one before it"):
        rotate(house(old))
    assert kept(house(f"{new} {old}")) == "hf_abcdefghijklmnop"
    assert rotate(house(f"{new} {old}")) == 1
    assert kept(house(new)) == "hf_abcdefghijklmnop"
    with pytest.raises(ConflictError, match="Enter it again"):
        kept(house(old))
    assert not (ctx.settings.root / "secret.key").exists()


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

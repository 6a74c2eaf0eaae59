"""`tunedeck people …` and `tunedeck secrets …`: for whoever sits at the machine itself."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from sqlmodel import Session

import app.domain.tables  # noqa: F401 - every table is known
from app.core.context import make_context
from app.core.settings import get_settings
from app.domain.errors import DomainError
from app.domain.secrets import rotation
from app.domain.secrets import service as secrets
from app.domain.trail import service as trail
from app.domain.users import service
from app.domain.users.access import Actor, Role
from app.welcome import address_of, first_administrator, link_for

people = typer.Typer(no_args_is_help=True, help="Who may come in.")
keys = typer.Typer(no_args_is_help=True, help="Stored secrets.")


def _refuse(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(1)


@people.command("list")
def list_people() -> None:
    """Every account, with its role."""
    with make_context(get_settings()).db.session() as session:
        for user in service.list_users(session):
            state = "  closed" if user.disabled_at else "" if user.password_hash else "  no password yet"
            typer.echo(f"{user.role:15}{user.name}{state}")


@people.command("add")
def add(name: str, role: Annotated[Role, typer.Option(help="What they may do.")] = Role.MEMBER) -> None:
    """Make an account, and print the link by which its owner sets a password."""
    try:
        with make_context(get_settings()).db.session(write=True) as session:
            user = service.create(session, name, role)
            _tell("person.add", f"person {user.id} “{user.name}”", session, role=role)
    except DomainError as exc:
        raise _refuse(exc.message) from exc
    link(name)


@people.command("link")
def link(name: Annotated[str, typer.Argument(help="Nobody: the first administrator.")] = "") -> None:
    """Print a link, good once and for a day, to set a password, also a forgotten one."""
    settings = get_settings()
    address = address_of(settings)
    said = link_for(settings, name, address) if name else first_administrator(settings, address)
    if not said:
        missing = f"There is no account “{name}”." if name else "There is an administrator, or accounts are off."
        raise _refuse(missing)
    with make_context(settings).db.session(write=True) as session:
        _tell("person.link", name or "the first administrator", session)
    typer.echo(said)


@keys.command("new-key")
def new_key() -> None:
    """Print a key for TUNEDECK_SECRET_KEY."""
    typer.echo(secrets.new_key())


@keys.command("rotate")
def rotate() -> None:
    """Encrypt every stored secret with a new key; the old one opens nothing any more."""
    ctx = make_context(get_settings())
    try:
        count = rotation.rotate(ctx)
    except DomainError as exc:
        raise _refuse(exc.message) from exc
    with ctx.db.session(write=True) as session:
        _tell("secret.rotate", f"{count} secrets", session)
    typer.echo(f"{count} secrets were encrypted anew.")


def _tell(action: str, subject: str, session: Session, **detail: str) -> None:
    actor = Actor(None, getpass.getuser(), Role.ADMINISTRATOR, via="command")
    trail.record(session, actor, action, subject=subject, detail=detail)

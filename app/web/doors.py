"""Who comes in: every request is somebody's, and may do what the table of permissions says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from fastapi import Request
from sqlmodel import Session

from app.core.context import Context
from app.domain.datasets import service as datasets
from app.domain.errors import NotAllowedError, NotFoundError, SignInError
from app.domain.exports.service import get_artifact
from app.domain.jobs import service as jobs
from app.domain.sweeps import service as sweeps
from app.domain.trail import service as trail
from app.domain.users import sessions, tokens
from app.domain.users.access import LOCAL, Actor, Role
from app.domain.users.scoping import act_as, wrote
from app.web.guard import SAFE_METHODS
from app.web.limits import Limits
from app.web.permissions import PERMISSIONS, Need, Rule

_BEARER = "Bearer "
_PROBES = frozenset({"/healthz", "/readyz"})
_PLAIN, _SECURE = "tunedeck_session", "__Host-tunedeck"


@dataclass
class Visit:
    """What is known of a request: who sent it, by which rule, and what the audit log is to say."""

    actor: Actor | None
    rule: Rule
    address: str
    subject: str = ""
    #: A line is to be written once the route is through: it changed something without a session of the request.
    owes: bool = False
    detail: dict[str, str] = field(default_factory=dict)


def on_tls(request: Request) -> bool:
    """Whether people reach the page over TLS: this request did, or its public address says so."""
    ctx: Context = request.app.state.ctx
    return request.url.scheme == "https" or ctx.settings.web.public_url.startswith("https:")


def cookie_name(request: Request) -> str:
    """On TLS one that no other host, and no plain page, can set."""
    return _SECURE if on_tls(request) else _PLAIN


def visit_of(request: Request) -> Visit:
    """Of this request; nobody's where no route was found."""
    found: Visit | None = getattr(request.state, "visit", None)
    return found or Visit(None, Rule(Need.NOTHING), address_of(request))


def actor_of(request: Request) -> Actor | None:
    """Who sent it."""
    return visit_of(request).actor


def address_of(request: Request) -> str:
    """Where it came from, as far as trusted proxies tell."""
    return request.client.host if request.client else ""


def authorize(request: Request) -> Iterator[None]:
    """Before every route: who is it, and may they? After it: a line in the audit log, where a route asked for one.

    Never two connections at a time: each of many requests would hold one and wait for another's.
    Raises `SignInError`, `NotAllowedError`, `NotFoundError` (also for what is somebody else's), `TooManyError`.
    """
    ctx: Context = request.app.state.ctx
    rule = PERMISSIONS.get((request.method, request.scope["route"].path))
    visit = request.state.visit = Visit(None, rule or Rule(Need.NOTHING), address_of(request))
    visit.subject = " ".join(f"{name.removesuffix('_id')} {value}" for name, value in request.path_params.items())[:200]
    with ctx.db.session() as session:
        visit.actor, stamp = _identify(request, ctx, session)
        _count(request)
        refusal = _refusal(request, visit, session, known=rule is not None)
    if stamp:
        with ctx.db.session(write=True) as session:
            stamp(session)
    if refusal:
        _tell_refused(ctx, visit)
        raise refusal
    yield
    if visit.owes:
        with ctx.db.session(write=True) as session:
            _tell(session, visit)


_Stamp = Callable[[Session], None]


def _identify(request: Request, ctx: Context, session: Session) -> tuple[Actor | None, _Stamp | None]:
    """Who it is, and what is to be written about that."""
    web = ctx.settings.web
    if not web.accounts:
        return LOCAL, None
    header = request.headers.get("authorization", "")
    if header:
        found = tokens.find(session, header.removeprefix(_BEARER)) if header.startswith(_BEARER) else None
        if found is None:
            raise SignInError("This token is not valid, or has expired. Make a new one on the page of your account.")
        token, actor = found
        return actor, partial(tokens.stamp, token_id=token.id or 0) if tokens.is_stale(token) else None
    cookie = request.cookies.get(cookie_name(request), "")
    known = sessions.find(session, cookie, idle_days=web.idle_days) if cookie else None
    if known is None:
        return None, None
    signed_in, actor = known
    stale = sessions.is_stale(signed_in)
    return actor, partial(sessions.stamp, session_id=signed_in.id or 0) if stale else None


def _refusal(request: Request, visit: Visit, session: Session, *, known: bool) -> NotAllowedError | None:
    try:
        _check(request, visit, session, known=known)
    except NotAllowedError as exc:
        return exc
    return None


def limit_key(request: Request) -> str:
    """Whom a use is counted for; empty for the one person of a loopback installation."""
    visit = visit_of(request)
    if visit.actor is None:
        return f"address {visit.address}"
    return "" if visit.actor.via == "local" else f"person {visit.actor.user_id}"


def _count(request: Request) -> None:
    """Not those who ask whether the process lives: with them everybody would be sent elsewhere."""
    limits: Limits = request.app.state.limits
    if request.url.path not in _PROBES and (key := limit_key(request)):
        limits.request(key)


def _check(request: Request, visit: Visit, session: Session, *, known: bool) -> None:
    actor, rule, changes = visit.actor, visit.rule, request.method not in SAFE_METHODS
    if not known:
        raise NotAllowedError("No rule says who may do this, so nobody may.")
    if rule.need is Need.NOTHING:
        return
    if actor is None:
        raise SignInError("Sign in first.")
    if changes and actor.via == "session" and not ({"origin", "sec-fetch-site"} & set(request.headers.keys())):
        raise NotAllowedError("This request does not say which page it came from. Use a token for scripts.")
    if changes and not actor.writes:
        raise NotAllowedError("This token may only read. Make one that may write.")
    _check_role(actor, rule)
    if rule.what and (rule.action or not actor.sees_all):
        act_as(session, actor)
        _check_object(request, visit, actor, session)


def _check_role(actor: Actor, rule: Rule) -> None:
    in_person = rule.need in {Need.IN_PERSON, Need.ADMINISTER_IN_PERSON}
    if in_person and actor.via == "token":
        raise NotAllowedError("A token can't do this. Sign in with a browser.")
    if rule.need in {Need.ADMINISTER, Need.ADMINISTER_IN_PERSON} and not actor.has(Role.ADMINISTRATOR):
        raise NotAllowedError("Only an administrator may do this.")
    if rule.need in {Need.MAKE, Need.CHANGE} and not actor.has(Role.MEMBER):
        raise NotAllowedError("Your account may only look. Ask an administrator to make you a member.")


def _check_object(request: Request, visit: Visit, actor: Actor, session: Session) -> None:
    """The object is there for them to see; to be changed, it is theirs."""
    what = visit.rule.what
    given = str(request.path_params.get(f"{what}_id", ""))
    if not (given.isascii() and given.isdigit() and len(given) <= 10 and 0 < int(given) < 2**31):
        raise NotFoundError("There is nothing at this address.")
    owner_id, name = _OBJECTS[what](session, int(given))
    visit.subject = f"{what} {int(given)} “{name}”"
    if visit.rule.need is Need.CHANGE and not actor.owns(owner_id):
        raise NotAllowedError("This belongs to somebody else. They, or an administrator, may change it.")


def _dataset(session: Session, number: int) -> tuple[int | None, str]:
    found = datasets.get_dataset(session, number)
    return found.owner_id, found.name


def _job(session: Session, number: int) -> tuple[int | None, str]:
    found = jobs.get_job(session, number)
    return found.owner_id, found.name


def _artifact(session: Session, number: int) -> tuple[int | None, str]:
    return _job(session, get_artifact(session, number).job_id)


def _sweep(session: Session, number: int) -> tuple[int | None, str]:
    found, _runs = sweeps.get_sweep(session, number)
    return found.owner_id, found.name


_OBJECTS = {"dataset": _dataset, "job": _job, "artifact": _artifact, "sweep": _sweep}


@contextmanager
def request_session(request: Request, *, write: bool) -> Iterator[Session]:
    """One transaction that acts for whoever sent the request, and tells the audit log what it changed."""
    ctx: Context = request.app.state.ctx
    visit = visit_of(request)
    with ctx.db.session(write=write) as session:
        if visit.actor is not None:
            act_as(session, visit.actor, most_jobs=ctx.settings.limits.live_jobs)
        request.state.session = session
        try:
            yield session
            session.flush()
            if write and visit.rule.action and wrote(session):
                _tell(session, visit)
        finally:
            del request.state.session


@contextmanager
def session_of(request: Request) -> Iterator[Session]:
    """The session that the request has open, or a short one to read with."""
    here: Session | None = getattr(request.state, "session", None)
    if here is not None:
        yield here
        return
    with request_session(request, write=False) as session:
        yield session


def _tell(session: Session, visit: Visit) -> None:
    rule = visit.rule
    trail.record(session, visit.actor, rule.action, subject=visit.subject, address=visit.address, detail=visit.detail)


def _tell_refused(ctx: Context, visit: Visit) -> None:
    if not visit.rule.action:
        return
    with ctx.db.session(write=True) as session:
        trail.record_refusal(session, visit.actor, visit.rule.action, subject=visit.subject, address=visit.address)


def tell(request: Request) -> None:
    """Something was changed without a session of the request: the audit log is to say so."""
    visit_of(request).owes = True


def about(request: Request, subject: str, **detail: str) -> None:
    """What the line in the audit log is about, where the path does not say."""
    visit = visit_of(request)
    visit.subject = subject or visit.subject
    visit.detail |= detail

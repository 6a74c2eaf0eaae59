"""Who sends the generated requests: the one person of a loopback installation, or somebody where there are accounts."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import requests
from sqlmodel import Session

from app.domain.users import service, sessions, tokens
from app.domain.users.access import Role, Scope
from app.web.permissions import PERMISSIONS
from tests.hostile.site import Site
from tests.people.crowd import PEOPLE
from tests.people.expectations import OPEN, expected

_UNLIMITED = {"TUNEDECK_LIMITS__REQUESTS_PER_MINUTE": "0", "TUNEDECK_LIMITS__LIVE_JOBS": "0"}
_NARROW = {
    "TUNEDECK_LIMITS__REQUESTS_PER_MINUTE": "240",
    "TUNEDECK_LIMITS__LIVE_JOBS": "3",
    "TUNEDECK_LIMITS__ROWS": "10",
    "TUNEDECK_WEB__MAX_UPLOAD_BYTES": "100",
}


@dataclass(frozen=True)
class Visitor:
    """`name`: the account they come in by; empty: nobody's, or there are none."""

    label: str
    accounts: bool = True
    name: str = ""
    by_token: bool = False
    env: dict[str, str] = field(default_factory=lambda: _UNLIMITED)
    #: Requests to each route in one lap.
    examples: int = 50

    @property
    def role(self) -> Role | None:
        """None: not signed in."""
        return PEOPLE.get(self.name)

    def may(self, method: str, path: str) -> bool:
        """Whether the table lets them in at this route when what it is about is their own."""
        if not self.accounts:
            return True
        scope = Scope.WRITE if self.by_token else None
        return expected(PERMISSIONS[method, path], self.role, scope, method, mine=True, shared=True) == OPEN


ONE = Visitor("one person, no accounts", accounts=False)
MEMBER = Visitor("a member, signed in", name="mia")
TOKEN = Visitor("a member's token", name="mia", by_token=True)
ADMINISTRATOR = Visitor("an administrator, signed in", name="ada")
VIEWER = Visitor("a viewer, signed in", name="vi")
NOBODY = Visitor("nobody, where there are accounts", examples=10)
LIMITED = Visitor("a member, low limits", name="mia", env=_NARROW, examples=20)
#: One after the other, each on both databases.
VISITORS = (ONE, MEMBER, TOKEN, ADMINISTRATOR, ONE, VIEWER, NOBODY, LIMITED)


class Caller:
    """The two clients of a visitor, for calls and for pages, with what lets them in."""

    def __init__(self, site: Site, visitor: Visitor) -> None:
        self.site, self.visitor = site, visitor
        self.script, self.browser = requests.Session(), site.browser()
        for jar in (self.script.cookies, self.browser.cookies.jar):
            assert isinstance(jar, CookieJar)
            jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # who they are stands in the header alone
        self.come_in()

    def come_in(self) -> None:
        """A new session or token; what a request took away by accident is given back."""
        if not self.visitor.name:
            return
        with self.site.ctx.db.session(write=True) as session:
            self._head(_opened(session, self.visitor, self.site.url))

    def _head(self, given: dict[str, str]) -> None:
        for headers in (self.script.headers, self.browser.headers):
            assert isinstance(headers, MutableMapping)
            headers.update(given)

    def keep_in(self, answer: httpx.Response) -> None:
        """After a request by which they may have left."""
        away = any(answer.headers.get(name, "").startswith("/sign-in") for name in ("location", "hx-redirect"))
        if away or answer.status_code == 401 or "set-cookie" in answer.headers:
            self.come_in()

    def close(self) -> None:
        """Both."""
        self.script.close()
        self.browser.close()


def _opened(session: Session, visitor: Visitor, origin: str) -> dict[str, str]:
    user = service.find(session, visitor.name)
    assert user is not None
    if visitor.role is Role.ADMINISTRATOR:  # who may shut themselves out, once they have made another one
        user.role, user.disabled_at = Role.ADMINISTRATOR, None
    if visitor.by_token:
        _row, text = tokens.make(session, user.id or 0, "barrage", Scope.WRITE, 30)
        return {"authorization": f"Bearer {text}"}
    value = sessions.start(session, user, days=1, address="127.0.0.1", browser="barrage")
    return {"cookie": f"tunedeck_session={value}", "origin": origin}

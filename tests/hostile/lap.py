"""One lap: a fresh site, a visitor, requests to every route, and a look at what must be as it was."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from app.domain.users.access import Role
from tests.hostile.barrage import Tally, calls, forms_of, pages
from tests.hostile.canaries import plant, plant_secret
from tests.hostile.site import Site, running
from tests.hostile.visitors import Caller, Visitor
from tests.web import seeding


def lap(folder: Path, number: int, visitor: Visitor, *, database_url: str = "", examples: int = 0) -> Tally:
    """`examples`: requests to each route; as many as the visitor sends when 0."""
    tally = Tally()
    with running(folder, database_url, accounts=visitor.accounts, env=visitor.env) as site:
        plant_secret(site.ctx)
        with site.ctx.db.session(write=True) as session:
            seeding.notifications(session, site.ctx)
        watched = plant(site.ctx, site.ids) if site.ids else None
        forms = forms_of(site)
        before = watched.state(visitor) if watched else {}
        with closing(Caller(site, visitor)) as caller:
            tally.add(calls(caller, number, examples or visitor.examples))
            tally.add(pages(caller, forms, number, examples or visitor.examples))
        if watched and visitor.role is not Role.ADMINISTRATOR:
            after = watched.state(visitor)
            for what in sorted(before.keys() | after.keys()):
                if before.get(what) != after.get(what):
                    tally.found("what is others'", f"{what} changed\n{before.get(what)}\n{after.get(what)}")
        _look_at_log(tally, site)
    return tally


def _look_at_log(tally: Tally, site: Site) -> None:
    log = site.log()
    if site.process.poll() is not None or "Traceback" in log:
        tally.found("server", f"the log holds a traceback\n{log[-3000:]}")

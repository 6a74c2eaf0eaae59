"""Is it up, and can it work? For supervisors and load balancers."""

from __future__ import annotations

import redis
import sqlalchemy as sa
from fastapi import APIRouter
from starlette.responses import JSONResponse

from app.core.context import Context
from app.web.deps import ContextDep

router = APIRouter()


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """200 as soon as the process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
def readyz(ctx: ContextDep) -> JSONResponse:
    """200 when the database and the broker answer, else 503 and which does not."""
    parts = {"database": _database(ctx), "broker": _broker(ctx)}
    return JSONResponse(parts, 200 if set(parts.values()) == {"ok"} else 503)


def _database(ctx: Context) -> str:
    try:
        with ctx.db.engine.connect() as connection:
            connection.execute(sa.text("select 1"))
    except sa.exc.SQLAlchemyError:
        return "unreachable"
    return "ok"


def _broker(ctx: Context) -> str:
    try:
        with redis.Redis.from_url(ctx.settings.redis, socket_timeout=1, socket_connect_timeout=1) as client:
            client.ping()
    except redis.RedisError:
        return "unreachable"
    return "ok"

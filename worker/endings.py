"""How an attempt may end, in the words of the job's row; and what of the database's trouble passes by itself."""

from __future__ import annotations

from typing import Any

import pydantic
import sqlalchemy as sa

from worker.trainer import protocol


def passing(exc: sa.exc.DBAPIError) -> bool:
    """Whether it is the database's trouble, which passes: away, busy, restarted, or it dropped an idle connection."""
    return exc.connection_invalidated or isinstance(exc, sa.exc.OperationalError | sa.exc.InternalError)


def parse_lines(data: bytes) -> list[protocol.Event]:
    """Whole lines of events.jsonl; one that is no event becomes a warning."""
    events = []
    for line in data.splitlines():
        try:
            events.append(protocol.parse(line))
        except pydantic.ValidationError:
            text = line[:500].decode("utf-8", "replace")
            events.append(protocol.Log(level="warning", message=f"A line that is no event was passed over: {text}"))
    return events


def failure(error_class: str, message: str, advice: str = "", traceback: str = "") -> dict[str, Any]:
    """An error as the job's row keeps it."""
    return {"class": error_class, "message": message, "advice": advice, "traceback": traceback}


def killed(code: int | None, output: str) -> dict[str, Any]:
    """The error of a child that ended without `done` or `error`."""
    if code is not None and code < 0:
        how = f"by signal {-code}" + (" (often: the machine ran out of memory)" if code == -9 else "")
    else:
        how = f"with exit code {code}"
    advice = "If it happens again: a smaller batch size, a shorter maximum length or a smaller model needs less memory."
    return failure("killed", f"The process of this job ended {how}, without a word.", advice, output)

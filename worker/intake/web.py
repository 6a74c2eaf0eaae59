"""A file from an address that a person typed: from hosts that the settings name, asked again at each redirect."""

from __future__ import annotations

import http.client
import re
import time
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from app.core.outgoing import RefusedAddressError, open_http, time_limit
from app.domain.datasets.addresses import refusal_of
from worker.child import Child, JobError
from worker.intake.fetching import check_size
from worker.trainer.specs import UrlFetch

_CHUNK = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_TELL_SECONDS = 0.5
#: After how many bytes the disk is asked again: others write too, and not every answer tells its length.
_ASK_BYTES = 1 << 26
_SETTING = "TUNEDECK_SOURCES__ALLOWED_NETWORKS"
_AGAIN = "Check the address, and whether the file can be had there without signing in."
_CONTROL = re.compile(r"[\x00-\x1f\x7f/\\]")


def fetch_url(wish: UrlFetch, child: Child, out: Path) -> str:
    """Write `out`; what the file is called there. Raises `JobError`."""
    until = time.monotonic() + wish.seconds
    url = wish.url
    for _ in range(_MOST_REDIRECTS + 1):
        if refusal := refusal_of(url, wish.hosts):
            raise JobError("bad_data", refusal, "Choose another address, or upload the file.")
        try:
            further = _one(wish, url, child, out, until)
        except RefusedAddressError as exc:
            raise JobError("bad_data", str(exc), "Upload the file instead.") from exc
        except (OSError, http.client.HTTPException) as exc:
            _check_time(wish, until)  # then the line was cut by us
            said = f"{urlsplit(url).hostname} could not be read: {type(exc).__name__}: {exc}."
            raise JobError("hub_unreachable", said[:500], _AGAIN) from exc
        if not further:
            return _name(url)
        _check_downgrade(url, further)
        url = further
    raise JobError("bad_data", f"The address leads on more than {_MOST_REDIRECTS} times.", _AGAIN)


def _check_time(wish: UrlFetch, until: float) -> None:
    if time.monotonic() >= until:
        message = f"It was not here after {wish.seconds:.0f} seconds, which is all that is waited."
        advice = "Upload the file, or ask for more time (TUNEDECK_SOURCES__URL_SECONDS)."
        raise JobError("hub_unreachable", message, advice)


def _check_downgrade(url: str, further: str) -> None:
    if urlsplit(url).scheme == "https" and urlsplit(further).scheme != "https":
        raise JobError("bad_data", "The address leads from https to one that is not encrypted.", _AGAIN)


def _one(wish: UrlFetch, url: str, child: Child, out: Path, until: float) -> str:
    """Where it leads on to; empty when the file is here."""
    client, target = open_http(url, wish.networks, _SETTING)
    try:
        with time_limit(client.sock, max(0.0, until - time.monotonic())):
            client.request("GET", target, headers={"User-Agent": "tunedeck", "Accept-Encoding": "identity"})
            with client.getresponse() as answer:
                if answer.status in _REDIRECTS:
                    return urljoin(url, answer.getheader("location", ""))
                if answer.status != http.client.OK:
                    message = f"{urlsplit(url).hostname} answered {answer.status} {answer.reason}."
                    raise JobError("bad_data", message[:300], _AGAIN)
                _write(wish, answer, child, out, until)
    finally:
        client.close()
    return ""


def _write(wish: UrlFetch, answer: http.client.HTTPResponse, child: Child, out: Path, until: float) -> None:
    total = answer.length or 0
    check_size(total, wish.max_bytes, out.parent, 1)
    size, asked, told = 0, 0, 0.0
    with out.open("wb") as file:
        while chunk := answer.read1(_CHUNK):
            size += len(chunk)
            if size > wish.max_bytes or size - asked >= _ASK_BYTES:
                check_size(size, wish.max_bytes, out.parent, 1, here=size - len(chunk))
                asked = size
            _check_time(wish, until)
            file.write(chunk)
            child.stop_point()
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                child.events.phase("downloading", size, total or None, "bytes")
    _check_time(wish, until)  # a line that was cut by us looks like the end of a file of untold length
    if total and size < total:
        raise JobError("hub_unreachable", "The line broke before the end of the file.", "Fetch it again.")


def _name(url: str) -> str:
    last = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    return _CONTROL.sub(" ", last).strip()[:200] or "file"

"""How numbers, sizes and times are written. The same words as static/ui.js."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from markupsafe import Markup, escape

from app.core.db import utcnow

_UNITS = ("B", "kB", "MB", "GB", "TB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
#: From here on a number is written with its power of ten.
_HUGE = 1e5


def number(value: float) -> str:
    """12345 as 12,345."""
    return f"{value:,.0f}"


def loss(value: float | None) -> str:
    """Four digits after the point; 4.101e9 where that would be a row of digits, a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if abs(value) < _HUGE else rate(value)


def figure(value: float | None) -> str:
    """Two digits after the point, else as `loss`."""
    whole = value is not None and math.isfinite(value) and abs(value) < _HUGE
    return f"{value:,.2f}" if whole else loss(value)


def rate(value: float) -> str:
    """A learning rate: 0.0002 as 2e-4."""
    digits, _, power = f"{value:.3e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def percent(value: float) -> str:
    """0.104 as 10 %."""
    return f"{value * 100:.0f} %"


def filesize(size: float) -> str:
    """Bytes in powers of 1000, as disks are sold."""
    power = 0
    while size >= 1000 and power < len(_UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.{1 if power > 1 else 0}f} {_UNITS[power]}"


def money(amounts: list[float], currency: str) -> str:
    """2.5 as 2.50 USD; two of them as 2.50 – 4.00 USD, and as one where they are the same."""
    written = list(dict.fromkeys(f"{amount:,.2f}" for amount in amounts))
    return f"{' – '.join(written)} {currency}"


def duration(seconds: float) -> str:
    """At most two units: 4 min 10 s."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def ago(moment: datetime | None) -> Markup:
    """A `<time>` that says how long ago, with the exact time on hover; ui.js keeps it fresh."""
    if moment is None:
        return Markup("–")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    exact = moment.astimezone(UTC)
    said = _ago_words((utcnow() - moment).total_seconds())
    return Markup('<time data-ago datetime="{}" title="{}">{}</time>').format(
        exact.isoformat(timespec="seconds"), f"{exact:%Y-%m-%d %H:%M:%S} UTC", escape(said)
    )


def elapsed(moment: datetime | None) -> Markup:
    """A `<time>` that says how long it has been running; ui.js keeps it fresh."""
    if moment is None:
        return Markup("–")
    exact = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return Markup('<time data-elapsed datetime="{}" title="{}">{}</time>').format(
        exact.isoformat(timespec="seconds"),
        f"{exact:%Y-%m-%d %H:%M:%S} UTC",
        duration((utcnow() - exact).total_seconds()),
    )


def _ago_words(seconds: float) -> str:
    if seconds < _MINUTE:
        return "now"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min. ago"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} hr. ago"
    days = int(seconds // _DAY)
    return "yesterday" if days == 1 else f"{days} days ago"


ALL = {
    "ago": ago,
    "duration": duration,
    "elapsed": elapsed,
    "filesize": filesize,
    "loss": loss,
    "number": number,
    "percent": percent,
    "rate": rate,
}

"""How a file to take away is called (RFC 6266): the name as it is, and one in plain letters for old programs."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

_LONGEST = 150


def disposition(name: str) -> str:
    """The header `content-disposition` of an attachment. Nothing of `name` can be a path or another header."""
    name = re.sub(r"[\x00-\x1f\x7f/\\]+", "_", name).strip(". ")[-_LONGEST:] or "file"
    name = name.encode("utf-8", "replace").decode()
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^\w .()+,=@-]+", "_", plain).strip(". ") or "file"
    if plain == name:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"

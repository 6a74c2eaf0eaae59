"""What may be the name of a repository on the Hub, a revision, or a commit. Pure; every road asks here before use.

Stricter than the Hub where a name becomes part of a path: the cache keeps `owner/name` as `owner--name@revision`, and
beside it folders with an ending. Two models must never be given one folder.
"""

from __future__ import annotations

import re

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST = 96
#: What folders and files beside a cached model end in; a repository's address on the Hub can't end in `.git`.
_TAKEN = (".git", ".lock", ".part", ".tokenizer")


def is_hub_id(name: str) -> bool:
    """Whether `name` is `owner/name` as the Hub writes it, and safe as part of a path."""
    return bool(
        len(name) <= _LONGEST
        and _HUB_ID.fullmatch(name)
        and "--" not in name
        and ".." not in name
        and not name.lower().endswith(_TAKEN)
    )


def is_revision(name: str) -> bool:
    """Whether `name` is a branch, a tag or a commit, and safe as part of a path."""
    return bool(
        len(name) <= _LONGEST
        and _REVISION.fullmatch(name)
        and ".." not in name
        and not name.lower().endswith((*_TAKEN, "."))
    )


def is_commit(name: str) -> bool:
    """Whether `name` is the full hash of a commit: the one kind of revision that never comes to mean something else."""
    return bool(_COMMIT.fullmatch(name))

"""What the stand-in Hub holds: repositories as commits of files, uploaded objects, and the switches of the tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LFS_ENDINGS = (".safetensors", ".gguf", ".bin", ".model")
LFS_FROM_BYTES = 10 << 20


class Refusal(Exception):
    """An answer in the Hub's manner: a status, a sentence, and often an X-Error-Code."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass
class Entry:
    """One file at one commit."""

    data: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def git_oid(self) -> str:
        """What git would call the blob: for LFS files that of the pointer."""
        data = self.data
        if self.lfs:
            data = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(data)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_oid


def entry_of(name: str, data: bytes) -> Entry:
    """As the Hub would store it."""
    return Entry(data, name.endswith(LFS_ENDINGS) or len(data) > LFS_FROM_BYTES)


@dataclass
class Repo:
    """A model repository: commits, newest last."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, Entry]] = field(default_factory=dict)
    #: Other branches than main: name -> commit.
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, Entry]) -> str:
        """Add a commit that holds `files`."""
        names = json.dumps([len(self.commits), sorted((n, e.git_oid) for n, e in files.items())])
        oid = hashlib.sha1(names.encode(), usedforsecurity=False).hexdigest()
        self.commits[oid] = files
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, Entry]]:
        """Commit id and files at a branch or a commit id."""
        mine = [oid for oid in self.commits if oid not in self.branches.values()]
        oid = mine[-1] if revision == "main" else self.branches.get(revision, revision)
        if oid not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return oid, self.commits[oid]


@dataclass
class Store:
    """All repositories, what was asked, and how the Hub is to misbehave."""

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, int, dict[str, str]]] = field(default_factory=list)
    cut_after: int | None = None
    block_seconds: float = 0.0
    quota: int | None = None

    def add(
        self,
        repo_id: str,
        source: Path | Mapping[str, bytes],
        *,
        private: bool = False,
        gated: bool = False,
        branch: str = "",
    ) -> str:
        """Put a repository there as if somebody had pushed it; gives back the commit id."""
        if isinstance(source, Path):
            source = {p.relative_to(source).as_posix(): p.read_bytes() for p in source.rglob("*") if p.is_file()}
        repo = self.repos.setdefault(repo_id, Repo(private, gated))
        oid = repo.commit({name: entry_of(name, data) for name, data in source.items()})
        if branch:
            repo.branches[branch] = oid
        return oid

    def files(self, repo_id: str) -> dict[str, bytes]:
        """The files at the tip of `main`."""
        return {name: entry.data for name, entry in self.repos[repo_id].at("main")[1].items()}

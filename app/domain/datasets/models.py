"""Tables of data sets."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from app.core.db import utcnow


class DatasetState(StrEnum):
    """Where a data set stands."""

    CHECKING = "checking"
    READY = "ready"
    NEEDS_CHOICE = "needs_choice"
    FAILED = "failed"
    #: On the Hub it has several parts, of which one is to be chosen.
    NEEDS_PART = "needs_part"
    #: Understood, and nothing here can train on it yet.
    KEPT = "kept"


class Dataset(SQLModel, table=True):
    """An uploaded file and what was understood of it."""

    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    name: str
    filename: str
    state: str = Field(default=DatasetState.CHECKING, index=True)
    #: One of `formats.FORMATS`; empty until the intake has looked.
    format: str = ""
    #: part of a row -> column of the file.
    mapping: dict[str, str] = Field(default_factory=dict, sa_column=sa.Column(sa.JSON, nullable=False))
    size: int = Field(sa_type=sa.BigInteger)
    sha256: str = Field(index=True)
    #: Where it was fetched from, of one that was not uploaded; `kind`: hub or url.
    origin: dict[str, Any] = Field(
        default_factory=dict, sa_column=sa.Column(sa.JSON, nullable=False, server_default="{}")
    )
    #: Key of the uploaded bytes, or of those that are to come.
    source_key: str
    #: Key of the canonical rows, one JSON object a line; empty until the intake is done.
    rows_key: str = ""
    row_count: int = 0
    problem_count: int = 0
    #: The person chose to go on with the good rows.
    good_rows_accepted: bool = False
    #: `IntakeStats` of the intake.
    stats: dict[str, Any] = Field(default_factory=dict, sa_column=sa.Column(sa.JSON, nullable=False))
    error: str = ""
    #: Number of the account whose it is; None: made before there were accounts.
    owner_id: int | None = Field(default=None, index=True)
    #: Everybody who is signed in may see it, and train on it.
    shared: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})
    created_at: datetime = Field(default_factory=utcnow)
    deleted_at: datetime | None = None
    #: Of a version: the data set that it was made from, and the first of all; None: a file was uploaded.
    parent_id: int | None = None
    family_id: int | None = Field(default=None, index=True)
    version: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    #: Number of the account that made the version.
    made_by: int | None = None
    #: What is different from its parent, as `versions.enter` writes it; empty: nothing, it is the file.
    changes: dict[str, Any] = Field(
        default_factory=dict, sa_column=sa.Column(sa.JSON, nullable=False, server_default="{}")
    )

    @property
    def title(self) -> str:
        """The name, and which version it is where there are more."""
        return self.name if self.version == 1 else f"{self.name} · version {self.version}"

    @property
    def family(self) -> int:
        """Number of the first of its versions."""
        return self.family_id or self.id or 0

    @property
    def is_read_from_file(self) -> bool:
        """Its rows come from the uploaded file, not from another version's rows."""
        return self.parent_id is None or self.changes.get("kind") == "reread"


class DatasetProblem(SQLModel, table=True):
    """A line that could not be read: the first thousand of a data set."""

    __tablename__ = "dataset_problem"

    id: int | None = Field(default=None, primary_key=True)
    dataset_id: int = Field(foreign_key="dataset.id", index=True, ondelete="CASCADE")
    line: int
    #: Byte offset of the line's start in the file.
    offset: int = Field(sa_type=sa.BigInteger)
    code: str
    message: str
    excerpt: str = ""

"""What people choose on the Settings page: each group one typed model, with defaults for what was never chosen."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlmodel import Session

from app.domain.models.names import is_commit, is_hub_id
from app.domain.preferences.models import Preference


class Group(BaseModel):
    """Base of the groups; `NAME` is its row's key."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    NAME: ClassVar[str] = ""


class Prices(Group):
    """What an hour of one GPU costs; 0: it is not said."""

    NAME = "prices"
    gpu_hour: float = Field(default=0.0, ge=0, le=10_000, allow_inf_nan=False)
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")


class Retention(Group):
    """Days for which checkpoints of jobs that have ended are kept; None: for good.

    A week after a success: the adapter is what counts then, and its checkpoints are several times its size. A failure
    is kept twice as long, for somebody may want to see how far it came.
    """

    NAME = "retention"
    succeeded_days: int | None = Field(default=7, ge=0, le=10_000)
    failed_days: int | None = Field(default=14, ge=0, le=10_000)


class Allowance(BaseModel):
    """One model that may bring code of its author, at one commit."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    commit: str

    @field_validator("model")
    @classmethod
    def _is_on_the_hub(cls, value: str) -> str:
        if not is_hub_id(value):
            raise ValueError("A model on the Hub is written owner/name.")
        return value

    @field_validator("commit")
    @classmethod
    def _is_whole(cls, value: str) -> str:
        if not is_commit(value):
            raise ValueError("A commit is the full hash of 40 characters, 0 to 9 and a to f.")
        return value


class ForeignCode(Group):
    """Models whose authors' code may run on the workers. None, unless an administrator says so."""

    NAME = "foreign_code"
    allowed: tuple[Allowance, ...] = ()


GroupT = TypeVar("GroupT", bound=Group)


def read(session: Session, group: type[GroupT]) -> GroupT:
    """The choices of this group; the defaults where what is stored no longer fits."""
    row = session.get(Preference, group.NAME)
    try:
        return group.model_validate(row.value if row else {})
    except ValidationError:
        return group()


def write(session: Session, chosen: Group) -> None:
    """Keep these choices."""
    session.merge(Preference(name=chosen.NAME, value=chosen.model_dump(mode="json")))
    session.flush()

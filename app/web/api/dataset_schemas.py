"""What the JSON calls about data sets give."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.domain.datasets.models import Dataset, DatasetState
from app.domain.datasets.row_search import LONGEST
from app.web.deps import MAX_ID

_ROW = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]}


class DatasetOut(BaseModel):
    """A data set: what was uploaded, and what was understood of it."""

    id: int = Field(examples=[1])
    name: str = Field(examples=["fortune teller"])
    filename: str = Field(examples=["fortune_teller.jsonl"])
    state: DatasetState
    format: str = Field(examples=["messages"])
    size: int = Field(description="bytes")
    sha256: str
    row_count: int = Field(examples=[104])
    problem_count: int
    error: str
    #: Number of the account whose it is; none without accounts.
    owner_id: int | None
    #: Everybody who signs in may see it.
    shared: bool
    #: Of a version: the data set that it was made from; none where a file was uploaded.
    version: int = Field(examples=[1])
    parent_id: int | None
    created_at: datetime

    @classmethod
    def of(cls, dataset: Dataset) -> DatasetOut:
        """As the row has it."""
        return cls.model_validate({name: getattr(dataset, name) for name in cls.model_fields})


class RowOut(BaseModel):
    """A canonical row, and its number from 1 on."""

    number: int = Field(examples=[1])
    row: dict[str, Any] = Field(examples=[_ROW])


class RowPage(BaseModel):
    """Rows; `next`: the `start` of those after them, if there are any, or if the search has not seen all."""

    rows: list[RowOut]
    next: int | None = Field(examples=[51])


class EditedRow(BaseModel):
    """A row as it is to be: canonical, or as a file of messages or texts would have it."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(ge=1, le=MAX_ID, examples=[3])
    row: dict[str, Any] = Field(examples=[_ROW])


class NewVersion(BaseModel):
    """What is to be different: rows edited or left out by number, or one of the others alone."""

    model_config = ConfigDict(extra="forbid")

    edit: list[EditedRow] = Field(default=[], max_length=1000)
    leave_out: list[int] = Field(default=[], max_length=100_000, examples=[[4, 5]], description="numbers from 1 on")
    matching: str = Field(default="", max_length=LONGEST, description="leave out all rows that hold this text")
    copies: bool = Field(default=False, description="leave out exact copies of earlier rows")
    restore: bool = Field(default=False, description="change nothing: an earlier version becomes the newest")

    @model_validator(mode="after")
    def _one_of_them(self) -> NewVersion:
        by_number = bool(self.edit or self.leave_out)
        if sum((by_number, bool(self.matching.strip()), self.copies, self.restore)) != 1:
            raise ValueError("Say what is to be different: rows by number, or exactly one of the others.")
        return self

"""What the JSON calls about data sets give."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.domain.datasets.models import Dataset, DatasetState

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

"""Every table, imported once so that the metadata is whole (migrations, tests)."""

from __future__ import annotations

from sqlmodel import SQLModel

from app.domain.datasets import models as datasets
from app.domain.jobs import models as jobs
from app.domain.secrets import models as secrets
from app.domain.workers import models as workers

metadata = SQLModel.metadata
__all__ = ["datasets", "jobs", "metadata", "secrets", "workers"]

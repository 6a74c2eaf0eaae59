"""Every table, imported once so that the metadata is whole (migrations, tests)."""

from __future__ import annotations

from sqlmodel import SQLModel

from app.domain.datasets import models as datasets
from app.domain.deliveries import models as deliveries
from app.domain.jobs import models as jobs
from app.domain.preferences import models as preferences
from app.domain.secrets import models as secrets
from app.domain.sweeps import models as sweeps
from app.domain.trail import models as trail
from app.domain.uploads import models as uploads
from app.domain.users import models as users
from app.domain.workers import models as workers

metadata = SQLModel.metadata
__all__ = [
    "datasets",
    "deliveries",
    "jobs",
    "metadata",
    "preferences",
    "secrets",
    "sweeps",
    "trail",
    "uploads",
    "users",
    "workers",
]

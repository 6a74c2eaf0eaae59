"""The one tree of settings. Each reads `TUNEDECK_<GROUP>__<NAME>`; `DATABASE_URL` and `REDIS_URL` are known as well."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import socket
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_TOP = Path(__file__).resolve().parents[2]


def resource_dir(name: str) -> Path:
    """`templates`, `static`, `migrations` or `samples`: beside the code in a checkout, inside the wheel otherwise."""
    for folder in (_TOP / name, _TOP / "app" / "_data" / name):
        if folder.is_dir():
            return folder
    message = f"The folder {name!r} is missing from this installation."
    raise FileNotFoundError(message)


class WebSettings(BaseModel):
    """The web process."""

    host: str = Field(
        default="127.0.0.1", description="Address to listen on. Other than loopback needs `TUNEDECK_WEB__ACCOUNTS`."
    )
    accounts: bool = Field(
        default=False,
        description="Everybody signs in. Without it whoever reaches the page may do everything; it is loopback only.",
    )
    port: int = Field(default=8642, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allowed_hosts: list[str] = Field(default=[], description="Further Host names to answer to, beside loopback.")
    public_url: str = Field(
        default="", description="Address under which people reach the page, for links in messages; left out when empty."
    )
    open_to_all: bool = Field(
        default=False,
        description="Start without accounts behind a proxy or under a name: who reaches the page may do everything.",
    )
    trusted_proxies: list[str] = Field(
        default=[],
        description="Addresses or networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.",
    )
    sign_in_days: int = Field(default=30, ge=1, le=365, description="Days after which everybody signs in again.")
    idle_days: int = Field(default=7, ge=1, le=365, description="Days without use after which a browser is signed out.")
    max_upload_bytes: int = Field(default=10 * 1024**3, description="Largest upload accepted, in bytes.")
    upload_hours: int = Field(
        default=48, ge=1, description="Hours after which an upload that nobody went on with is removed."
    )
    patience_seconds: float = Field(default=30.0, gt=0, description="A request that stands still so long is dropped.")
    stream_seconds: int = Field(default=600, description="Longest life of one live stream, in seconds.")


class LimitSettings(BaseModel):
    """What one person may use at a time; 0: no limit."""

    requests_per_minute: int = Field(
        default=1200, ge=0, description="Requests of one person, counted by each web process for itself."
    )
    streams: int = Field(default=50, ge=0, description="Live pages of one person, per web process.")
    live_jobs: int = Field(default=500, ge=0, description="Jobs of one person that wait or run.")
    uploads: int = Field(default=10, ge=0, description="Unfinished uploads of one person.")
    rows: int = Field(default=20_000_000, ge=0, description="Rows of a data set.")
    unpacked_gb: int = Field(default=100, ge=0, description="Gigabytes that a packed data set may unpack to.")


class WorkerSettings(BaseModel):
    """The worker processes and the children they start."""

    name: str = Field(default="", description="Name shown on the Workers page; the host name when empty.")
    gpus_per_slot: int = Field(
        default=1, ge=0, description="GPUs that each training gets; 2: pairs, 0: all of the host's in one slot."
    )
    labels: list[str] = Field(
        default=[], description="Words by which a job can ask for this host's workers, such as a place or an owner."
    )
    lease_seconds: float = Field(default=60.0, gt=0, description="A job whose worker is silent this long is lost.")
    beat_seconds: float = Field(default=1.0, gt=0, description="How often a worker renews the lease of its job.")
    sweep_seconds: float = Field(default=2.0, gt=0, description="How often lost jobs are looked for.")
    max_losses: int = Field(default=3, ge=0, description="Losses without a new checkpoint after which a job fails.")
    stop_seconds: float = Field(default=15.0, gt=0, description="Time a cancelled child has before SIGTERM.")
    kill_seconds: float = Field(default=10.0, gt=0, description="Time between SIGTERM and SIGKILL.")
    drain_seconds: float = Field(default=120.0, gt=0, description="Time a job has to save before it is made to stop.")
    standby: bool = Field(
        default=True,
        description="Keep a trainer with its libraries loaded, so that the next training starts at once (0.5 GB).",
    )
    standby_unsloth: bool = Field(
        default=True,
        description="Have it load Unsloth too where there is a GPU: the first step comes some 25 s sooner, and it "
        "holds some 0.7 GB of GPU memory while it waits.",
    )
    celery_events: bool = Field(
        default=False, description="Let Celery report each task and listen to remote control, which Flower needs."
    )
    deaf_seconds: float = Field(
        default=60.0, ge=0, description="An idle worker beside work that waits starts anew after so long; 0: never."
    )
    fence_network: bool = Field(
        default=True, description="Shut the network off for a job once its model is there (Linux; not for a push)."
    )
    child_memory_gb: float = Field(
        default=0.0, ge=0, description="Main memory that a job may hold, in GB; one that takes more is ended. 0: any."
    )
    child_disk_gb: float = Field(
        default=0.0,
        ge=0,
        description="What a job may write on this host, in GB; 0: until the disk has less than 0.2 GB left.",
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of a training; 0: one less than the cores.")


class ModelSettings(BaseModel):
    """Where base models come from."""

    cache_dir: Path | None = Field(
        default=None, description="Folder for fetched models; inside the data folder if empty."
    )
    local_roots: list[Path] = Field(default=[], description="Folders below which a local model folder may be named.")
    llama_cpp_dir: str = Field(default="", description="Folder with a llama.cpp build (libllama) for quantising.")
    converter_dir: Path | None = Field(default=None, description="Folder with llama.cpp's converter scripts.")


class HubSettings(BaseModel):
    """The Hugging Face Hub, or a server that speaks its protocol."""

    endpoint: str = Field(default="https://huggingface.co", description="Address of the Hub.")
    offline: bool = Field(default=False, description="Never contact the Hub; offer only what is on the machine.")
    members_push_to: list[str] = Field(
        default=[],
        description="Users and organisations of the Hub to whose repositories members may push with the stored token; "
        "administrators to any. Empty: administrators alone. Counts where there are accounts.",
    )
    members_fetch_from: list[str] = Field(
        default=[],
        description="Users and organisations of the Hub whose data sets members fetch with the stored token; "
        "administrators anybody's. From others they fetch what is public. Counts where there are accounts.",
    )
    disable_xet: bool = Field(default=False, description="Use plain HTTP uploads; needed by most self-hosted hubs.")


def _checked_networks(value: list[str]) -> list[str]:
    for network in value:
        ipaddress.ip_network(network, strict=False)
    return value


class SourceSettings(BaseModel):
    """Addresses from which data sets are fetched, beside the Hub."""

    url_hosts: list[str] = Field(
        default=[],
        description="Hosts from which a file may be fetched by its address, such as data.example.org or *.example.org; "
        "`*`: any public one. Empty: none.",
    )
    allowed_networks: list[str] = Field(
        default=[], description="Networks that are not public and yet may be called for it, such as 10.1.2.0/24."
    )
    url_seconds: float = Field(default=3600.0, gt=0, description="Longest time that a file from an address may take.")

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        return _checked_networks(value)


class NotifySettings(BaseModel):
    """Messages when a job ends; where they go is set on the page."""

    allowed_networks: list[str] = Field(
        default=[],
        description="Networks that are not public and yet may be called by webhooks and for mail, such as 10.1.2.0/24.",
    )

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        return _checked_networks(value)


class LogSettings(BaseModel):
    """What the processes write to stderr."""

    format: Literal["plain", "json"] = Field(
        default="plain", description="`plain` for people, `json` for one JSON object a line, with the job's number."
    )
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level written.")


class Settings(BaseSettings):
    """Everything that can be set from outside."""

    model_config = SettingsConfigDict(env_prefix="TUNEDECK_", env_nested_delimiter="__", extra="ignore")

    data_dir: Path = Field(default=Path("~/.tunedeck"), description="Where data sets, runs and the database live.")
    database_url: str = Field(
        default="",
        repr=False,  # it may hold a password
        validation_alias=AliasChoices("TUNEDECK_DATABASE_URL", "DATABASE_URL", "database_url"),
        description="SQLAlchemy address; SQLite inside the data folder when empty.",
    )
    redis_url: str = Field(
        default="",
        repr=False,  # likewise
        validation_alias=AliasChoices("TUNEDECK_REDIS_URL", "REDIS_URL", "redis_url"),
        description="Address of Redis or Valkey; an embedded Valkey when empty.",
    )
    secret_key: SecretStr = Field(
        default=SecretStr(""), description="Key that encrypts stored tokens; a 0600 file in the data folder when empty."
    )
    storage_url: str = Field(
        default="",
        description="Where hosts without a common disk share their bytes, as s3://bucket/prefix (credentials: the AWS "
        "variables or the machine's role); the data folder alone when empty.",
    )
    s3_endpoint: str = Field(
        default="", description="Address of an S3 server that is not Amazon's, such as MinIO; http is accepted here."
    )
    s3_region: str = Field(default="", description="Region of the bucket; `AWS_REGION` or us-east-1 when empty.")
    web: WebSettings = WebSettings()
    limits: LimitSettings = LimitSettings()
    worker: WorkerSettings = WorkerSettings()
    models: ModelSettings = ModelSettings()
    hub: HubSettings = HubSettings()
    sources: SourceSettings = SourceSettings()
    notify: NotifySettings = NotifySettings()
    log: LogSettings = LogSettings()

    @property
    def root(self) -> Path:
        """The data folder, absolute."""
        return self.data_dir.expanduser().resolve()

    @property
    def files_dir(self) -> Path:
        """Root of the byte storage, or of this host's working copy of it."""
        return self.root / "files"

    @property
    def model_cache(self) -> Path:
        """Folder for base models."""
        return (self.models.cache_dir or self.root / "models").expanduser().resolve()

    @property
    def database(self) -> str:
        """The database's address, with the psycopg 3 driver for Postgres."""
        url = self.database_url or f"sqlite:///{self.root / 'tunedeck.db'}"
        for short in ("postgres://", "postgresql://"):
            if url.startswith(short):
                return "postgresql+psycopg://" + url[len(short) :]
        return url

    @property
    def broker_socket(self) -> Path:
        """Unix socket of the embedded broker: a short path, for a socket's name is limited to about 100 bytes."""
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        return (
            Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
            / f"tunedeck-{os.getuid()}-{digest}"
            / "r.sock"
        )

    @property
    def redis(self) -> str:
        """The broker's address for redis-py."""
        return self.redis_url or f"unix://{self.broker_socket}"

    @property
    def broker(self) -> str:
        """The broker's address for Celery."""
        return self.redis_url or f"redis+socket://{self.broker_socket}"

    @property
    def converter(self) -> Path:
        """Folder of llama.cpp's converter, as the set-up laid it."""
        return self.models.converter_dir or Path(sys.prefix) / "share" / "tunedeck" / "llama.cpp"

    @property
    def worker_name(self) -> str:
        """Name of the worker on this host."""
        return self.worker.name or socket.gethostname()


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()

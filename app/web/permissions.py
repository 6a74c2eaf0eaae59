"""Who may do what: one row for each route. What has no row is refused, and a test fails for it.

`need` is what it takes; `what` names the object in the path (its number stands in `<what>_id`), which must be visible
to whoever asks, or their own (CHANGE); `action` is the word in the audit log, empty where nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Need(StrEnum):
    """From the least to the most."""

    #: Anybody, signed in or not.
    NOTHING = "nothing"
    #: Somebody who is signed in, or has a token.
    SIGN_IN = "sign in"
    #: Likewise, but in a browser: what a token must never do.
    IN_PERSON = "in person"
    #: A member: makes things.
    MAKE = "make"
    #: A member whose the object is, or an administrator.
    CHANGE = "change"
    ADMINISTER = "administer"
    #: An administrator in a browser: what would make a token mightier than it is.
    ADMINISTER_IN_PERSON = "administer in person"


@dataclass(frozen=True)
class Rule:
    """One row."""

    need: Need
    what: str = ""
    action: str = ""


_N = Need
OPEN = Rule(_N.NOTHING)
READ = Rule(_N.SIGN_IN)
ADMIN_READ = Rule(_N.ADMINISTER)


def _see(what: str) -> Rule:
    return Rule(_N.SIGN_IN, what)


def _make(action: str, what: str = "") -> Rule:
    return Rule(_N.MAKE, what, action)


def _change(what: str, action: str) -> Rule:
    return Rule(_N.CHANGE, what, action)


def _admin(action: str) -> Rule:
    return Rule(_N.ADMINISTER, action=action)


def _in_person(action: str = "") -> Rule:
    return Rule(_N.IN_PERSON, action=action)


def _admin_in_person(action: str = "") -> Rule:
    return Rule(_N.ADMINISTER_IN_PERSON, action=action)


PERMISSIONS: dict[tuple[str, str], Rule] = {
    # Before anybody is signed in
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/sign-in"): OPEN,
    ("POST", "/sign-in"): OPEN,
    ("POST", "/language"): OPEN,
    ("GET", "/welcome"): OPEN,
    ("POST", "/welcome"): OPEN,
    ("POST", "/sign-out"): Rule(_N.NOTHING, action="account.sign_out"),
    # Everybody's
    ("GET", "/"): READ,
    ("GET", "/patterns"): READ,
    ("GET", "/changed"): READ,
    ("GET", "/metrics"): READ,
    ("POST", "/demo"): _make("demo.start"),
    # One's own account
    ("GET", "/account"): _in_person(),
    ("POST", "/account/password"): _in_person("account.password"),
    ("POST", "/account/tokens"): _in_person("token.make"),
    ("POST", "/account/tokens/{token_id}/revoke"): _in_person("token.revoke"),
    ("POST", "/account/browsers/{browser_id}/sign-out"): _in_person("account.sign_out"),
    ("POST", "/account/browsers/others/sign-out"): _in_person("account.sign_out_others"),
    # Data sets
    ("GET", "/datasets"): READ,
    ("GET", "/datasets/new"): Rule(_N.MAKE),
    ("POST", "/datasets"): _make("dataset.upload"),
    ("POST", "/datasets/uploads"): _make("dataset.upload_begin"),
    ("PATCH", "/datasets/uploads/{upload_id}"): _make("dataset.upload"),
    ("POST", "/datasets/uploads/{upload_id}/finish"): _make("dataset.upload"),
    ("POST", "/datasets/uploads/{upload_id}/delete"): _make("dataset.upload_delete"),
    ("POST", "/datasets/hub"): _make("dataset.fetch"),
    ("POST", "/datasets/url"): _make("dataset.fetch"),
    ("POST", "/datasets/{dataset_id}/part"): _change("dataset", "dataset.part"),
    ("POST", "/datasets/{dataset_id}/fetch"): _change("dataset", "dataset.fetch"),
    ("GET", "/datasets/{dataset_id}"): _see("dataset"),
    ("GET", "/datasets/{dataset_id}/rows"): _see("dataset"),
    ("GET", "/datasets/{dataset_id}/rows/{number}"): _see("dataset"),
    ("POST", "/datasets/{dataset_id}/rows/{number}"): _make("dataset.row", "dataset"),
    ("GET", "/datasets/{dataset_id}/rows/{number}/edit"): Rule(_N.CHANGE, "dataset"),
    ("POST", "/datasets/{dataset_id}/rows/{number}/edit"): _change("dataset", "dataset.edit"),
    ("POST", "/datasets/{dataset_id}/exclude"): _change("dataset", "dataset.exclude"),
    ("POST", "/datasets/{dataset_id}/restore"): _change("dataset", "dataset.restore"),
    ("GET", "/datasets/{dataset_id}/changes"): _see("dataset"),
    ("GET", "/datasets/{dataset_id}/original"): _see("dataset"),
    ("GET", "/datasets/{dataset_id}/rows.jsonl"): _see("dataset"),
    ("GET", "/datasets/{dataset_id}/problems.csv"): _see("dataset"),
    ("GET", "/datasets/{dataset_id}/mapping"): Rule(_N.CHANGE, "dataset"),
    ("POST", "/datasets/{dataset_id}/mapping"): _change("dataset", "dataset.mapping"),
    ("POST", "/datasets/{dataset_id}/mapping/preview"): Rule(_N.CHANGE, "dataset"),
    ("POST", "/datasets/{dataset_id}/accept"): _change("dataset", "dataset.accept"),
    ("POST", "/datasets/{dataset_id}/rename"): _change("dataset", "dataset.rename"),
    ("POST", "/datasets/{dataset_id}/share"): _change("dataset", "dataset.share"),
    ("POST", "/datasets/{dataset_id}/audit"): _make("dataset.audit", "dataset"),
    ("POST", "/datasets/{dataset_id}/delete"): _change("dataset", "dataset.delete"),
    # Jobs
    ("GET", "/jobs"): READ,
    ("POST", "/jobs"): _make("job.start"),
    ("GET", "/jobs/new"): Rule(_N.MAKE),
    ("POST", "/jobs/new/panel"): _make("dataset.audit"),
    ("POST", "/jobs/new/questions"): Rule(_N.MAKE),
    ("GET", "/jobs/{job_id}"): _see("job"),
    ("GET", "/jobs/{job_id}/events"): _see("job"),
    ("GET", "/jobs/{job_id}/log.json"): _see("job"),
    ("GET", "/jobs/{job_id}/log.txt"): _see("job"),
    ("GET", "/jobs/{job_id}/metrics.csv"): _see("job"),
    ("GET", "/jobs/{job_id}/metrics.json"): _see("job"),
    ("POST", "/jobs/{job_id}/cancel"): _change("job", "job.cancel"),
    ("POST", "/jobs/{job_id}/delete"): _change("job", "job.delete"),
    ("POST", "/jobs/{job_id}/export"): _change("job", "job.export"),
    ("POST", "/jobs/{job_id}/first"): _change("job", "job.first"),
    ("POST", "/jobs/{job_id}/move"): _change("job", "job.move"),
    ("POST", "/jobs/{job_id}/pause"): _change("job", "job.pause"),
    ("POST", "/jobs/{job_id}/priority"): _change("job", "job.priority"),
    ("POST", "/jobs/{job_id}/push"): _change("job", "job.push"),
    ("POST", "/jobs/{job_id}/resume"): _change("job", "job.resume"),
    ("POST", "/jobs/{job_id}/retry"): _make("job.retry", "job"),
    ("POST", "/jobs/{job_id}/share"): _change("job", "job.share"),
    ("GET", "/artifacts/{artifact_id}/download"): _see("artifact"),
    # Beside each other: the session shows of the numbers in the address those that may be seen
    ("GET", "/compare"): READ,
    ("GET", "/compare/metrics.json"): READ,
    ("GET", "/sweeps/{sweep_id}"): _see("sweep"),
    ("POST", "/sweeps/{sweep_id}/cancel"): _change("sweep", "sweep.cancel"),
    # Models
    ("GET", "/models"): READ,
    ("GET", "/models/{job_id}"): _see("job"),
    # Workers and queues
    ("GET", "/workers"): READ,
    ("POST", "/workers/queues/{queue}/hold"): _admin("queue.hold"),
    ("POST", "/workers/queues/{queue}/go"): _admin("queue.go"),
    ("POST", "/workers/{queue}/{name}/drain"): _admin("worker.drain"),
    ("POST", "/workers/{queue}/{name}/resume"): _admin("worker.resume"),
    # Settings
    ("GET", "/settings"): ADMIN_READ,
    ("POST", "/settings/hub-token"): _admin_in_person("secret.hub_token"),
    ("POST", "/settings/hub-token/delete"): _admin_in_person("secret.hub_token_delete"),
    ("POST", "/settings/prices"): _admin("settings.prices"),
    ("POST", "/settings/foreign-code"): _admin_in_person("code.allow"),
    ("POST", "/settings/foreign-code/delete"): _admin_in_person("code.withdraw"),
    ("GET", "/settings/notifications"): ADMIN_READ,
    ("POST", "/settings/notifications/webhook"): _admin_in_person("settings.webhook"),
    ("POST", "/settings/notifications/webhook/secret"): _admin_in_person("secret.webhook"),
    ("POST", "/settings/notifications/email"): _admin_in_person("settings.email"),
    ("POST", "/settings/notifications/{channel}/test"): _admin("settings.message_test"),
    ("POST", "/settings/notifications/{channel}/delete"): _admin_in_person("settings.message_off"),
    ("POST", "/settings/notifications/messages/{message_id}/again"): _admin("settings.message_again"),
    # People
    ("GET", "/settings/people"): _admin_in_person(),
    ("POST", "/settings/people"): _admin_in_person("person.add"),
    ("POST", "/settings/people/{user_id}/role"): _admin_in_person("person.role"),
    ("POST", "/settings/people/{user_id}/link"): _admin_in_person("person.link"),
    ("POST", "/settings/people/{user_id}/close"): _admin_in_person("person.close"),
    ("POST", "/settings/people/{user_id}/open"): _admin_in_person("person.open"),
    ("POST", "/settings/people/{user_id}/sign-out"): _admin_in_person("person.sign_out"),
    ("GET", "/settings/log"): ADMIN_READ,
    # Storage
    ("GET", "/storage"): ADMIN_READ,
    ("POST", "/storage/rules"): _admin("storage.rules"),
    ("POST", "/storage/checkpoints"): _admin("storage.checkpoints"),
    ("POST", "/storage/jobs/{job_id}/checkpoints"): _admin("storage.checkpoints"),
    ("POST", "/storage/jobs/{job_id}/merged"): _admin("storage.merged"),
    ("POST", "/storage/exports/{artifact_id}"): _admin("storage.export"),
    ("POST", "/storage/models/{folder}"): _admin("storage.model"),
    # JSON
    ("GET", "/api/openapi.json"): OPEN,
    ("GET", "/api/datasets"): READ,
    ("GET", "/api/datasets/{dataset_id}"): _see("dataset"),
    ("GET", "/api/datasets/{dataset_id}/rows"): _see("dataset"),
    ("GET", "/api/datasets/{dataset_id}/rows.jsonl"): _see("dataset"),
    ("GET", "/api/datasets/{dataset_id}/original"): _see("dataset"),
    ("POST", "/api/datasets/{dataset_id}/versions"): _change("dataset", "dataset.version"),
    ("GET", "/api/jobs"): READ,
    ("POST", "/api/jobs"): _make("job.start"),
    ("GET", "/api/jobs/{job_id}"): _see("job"),
    ("DELETE", "/api/jobs/{job_id}"): _change("job", "job.delete"),
    ("POST", "/api/jobs/{job_id}/pause"): _change("job", "job.pause"),
    ("POST", "/api/jobs/{job_id}/resume"): _change("job", "job.resume"),
    ("POST", "/api/jobs/{job_id}/cancel"): _change("job", "job.cancel"),
    ("POST", "/api/jobs/{job_id}/first"): _change("job", "job.first"),
    ("POST", "/api/jobs/{job_id}/move"): _change("job", "job.move"),
    ("POST", "/api/jobs/{job_id}/priority"): _change("job", "job.priority"),
    ("POST", "/api/jobs/{job_id}/share"): _change("job", "job.share"),
    ("POST", "/api/jobs/{job_id}/retry"): _make("job.retry", "job"),
    ("POST", "/api/jobs/{job_id}/duplicate"): _make("job.duplicate", "job"),
    ("POST", "/api/jobs/{job_id}/further"): _make("job.further", "job"),
    ("POST", "/api/sweeps"): _make("sweep.start"),
    ("GET", "/api/sweeps/{sweep_id}"): _see("sweep"),
    ("POST", "/api/sweeps/{sweep_id}/cancel"): _change("sweep", "sweep.cancel"),
    ("GET", "/api/queues"): READ,
    ("POST", "/api/queues/{queue}/hold"): _admin("queue.hold"),
    ("POST", "/api/queues/{queue}/go"): _admin("queue.go"),
    ("GET", "/api/workers"): READ,
    ("POST", "/api/workers/{queue}/{name}/drain"): _admin("worker.drain"),
    ("POST", "/api/workers/{queue}/{name}/resume"): _admin("worker.resume"),
}

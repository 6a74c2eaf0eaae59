"""Every field that somebody outside can fill in is known here, with what it is; a new one fails until it is tested."""

from __future__ import annotations

import re

import httpx
import pytest

from app.core.settings import Settings
from tests.hostile.site import Site
from tests.hostile.surface import Surface, fields_described, fields_read, look_around, parameters, routes
from tests.hostile.test_addresses import CALLED
from tests.hostile.values import EVERY

#: Kinds of fields. The first ones say where they are attacked as what they are; every value of values.py goes to all.
NAMES = {
    "base_model": "test_paths: traversal; test_markup",
    "folder": "test_paths: traversal",
    "revision": "test_paths: traversal",
    "name": "test_paths, test_markup, test_names",
    "repo_id": "below",
    "queue": "below",
    "worker_label": "test_markup",
    "target_modules": "below",
    "file": "test_uploads",
    "pasted": "test_uploads: the same bytes, in a field",
    "filename": "test_uploads",
    "split": "below; compared with names that the Hub gives",
    "source_url": "test_sources: it is called by a worker, and only where the settings name its host",
    "model": "tests/models/test_names.py",
    "commit": "tests/models/test_names.py",
    "next": "open redirects: tests/people/test_signing_in.py",
}
#: Mail addresses: handed to the mail server, never called. tests/deliveries/test_mail.py forges headers with them.
MAILS = {"recipients", "sender"}
IDS = {
    "adapter_of", "artifact_id", "before", "browser_id", "dataset", "dataset_id", "further", "job_id", "less", "like",
    "message_id", "sweep_id", "token_id", "upload_id", "user_id", "validation_dataset", "who",
}  # fmt: skip
SECRETS = {"again", "hub_token", "key", "old_password", "password", "signing_secret", "user"}
TEXTS = {
    "column", "find", "put", "q", "matching",
    "said", "content", "reasoning", "calls", "call_id", "tools", "expected", "prompt",
    "question_expected", "question_expected_was", "question_prompt", "question_system",
    "question_was", "questions", "system",
}  # fmt: skip
#: One of a few words, or a number: compared or parsed, never used as it is.
CHOICES = {
    "after", "artifact", "attention", "channel", "config", "currency", "ends", "engine", "eval_steps", "fit_memory",
    "gpu_hour", "gpus", "gradient_accumulation_steps", "gradient_checkpointing", "grid", "jobs", "kind",
    "learning_rate", "limit", "load_in", "lora_alpha", "lora_dropout", "lora_r", "lr_scheduler_type",
    "max_new_tokens", "max_seq_length",
    "max_steps", "min_gpu_memory_gb", "num_train_epochs", "offset", "optim", "packing", "per_device_train_batch_size",
    "port", "precision", "priority", "problem", "quant", "row", "save_minutes", "save_steps", "security", "seed",
    "show", "start", "state", "temperature", "validation_split", "visibility", "warmup_steps", "weight_decay", "what",
    "where",
    "sweep_field", "sweep_values",
    "failed_days", "succeeded_days",
    "days", "role", "scope", "shared", "tokens_too",
    "length", "number", "size", "modified",
    "code", "format", "language", "level", "part", "stop", "was", "drop", "weight", "split", "split_by_file",
    "copies", "edit", "leave_out", "restore",
}  # fmt: skip
KNOWN = CALLED.keys() | NAMES.keys() | MAILS | IDS | SECRETS | TEXTS | CHOICES
#: Settings hold addresses and folders too: whoever sets them owns the machine, so they are taken as they are.
OPERATORS = {
    "web.host", "web.allowed_hosts", "web.public_url", "models.cache_dir", "models.local_roots", "models.llama_cpp_dir",
    "models.converter_dir", "hub.endpoint", "notify.allowed_networks", "data_dir", "database_url", "redis_url",
    "storage_url", "s3_endpoint",
    "sources.url_hosts", "sources.allowed_networks", "sources.url_seconds",
    "worker.fence_network",  # a switch
}  # fmt: skip
_REFS = ("dataset", "like", "less", "further")
_LOOKS_LIKE_ADDRESS = re.compile(
    r"host|url|endpoint|addr|server|network|dir|path|root|folder|\buri|link", re.IGNORECASE
)


@pytest.fixture(scope="module")
def surface(site: Site) -> Surface:
    with site.browser() as web:
        return look_around(web, [route.path for route in routes(site.ctx.settings)])


def test_every_field_is_known(site: Site, surface: Surface, web: httpx.Client) -> None:
    """Found in the code, in the pages, in the OpenAPI document and in the routes' parameters."""
    found = fields_read() | parameters(routes(site.ctx.settings)) | set().union(*surface.forms.values())
    found |= fields_described(web.get("/api/openapi.json").json())
    assert found - KNOWN == set(), "Put the field among its kind here, and give an address its entry in CALLED."
    assert KNOWN - found == set(), "These are gone."


def test_what_sounds_like_an_address_is_tested_as_one() -> None:
    assert {name for name in KNOWN if _LOOKS_LIKE_ADDRESS.search(name)} <= CALLED.keys() | NAMES.keys()


def test_a_setting_that_sounds_like_an_address_is_the_operators() -> None:
    names = set(Settings.model_fields)
    for group, each in Settings.model_fields.items():
        inner = getattr(each.annotation, "model_fields", None)
        names |= {f"{group}.{name}" for name in inner} if inner else set()
    groups = {name.partition(".")[0] for name in names if "." in name}
    assert {name for name in names - groups if _LOOKS_LIKE_ADDRESS.search(name)} == OPERATORS


def test_every_field_takes_every_hostile_value(site: Site, surface: Surface, web: httpx.Client) -> None:
    """In all fields of a form at once, a quarter of the values each: refused or taken, never an error of ours."""
    for number, (path, names) in enumerate(sorted(surface.forms.items())):
        if path == "/datasets":
            continue
        address = re.sub(r"\{\w+_id\}", "1", path).format(
            channel="webhook", queue="gpu", name="w", folder="a--b", number=1
        )
        for value in EVERY[number % 4 :: 4] if names else ():
            answer = web.post(address, data=dict.fromkeys(names, value))
            assert answer.status_code < 500, (path, value)
            assert "hostile9" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize("number", ["-1", "0", "2147483648", "9" * 30, "9" * 5000, "1e3", "²", "a", "1%00"])
def test_an_odd_number_leads_nowhere(site: Site, web: httpx.Client, number: str) -> None:
    for route in routes(site.ctx.settings):
        ids = [each.alias for each in route.dependant.path_params if each.alias in IDS]
        for method in (route.methods or set()) - {"HEAD"} if ids else ():
            path = re.sub(r"\{\w+\}", number, route.path)
            assert web.request(method, path).status_code in {400, 404}, path
    for path, names in (("/jobs/new", _REFS), ("/jobs", ("start",)), ("/datasets/1", ("row", "problem"))):
        query = "&".join(f"{name}={number}" for name in names)
        assert web.get(f"{path}?{query}").status_code in {200, 400, 404, 422}
    for name in ("offset", "limit"):
        assert web.get(f"/api/jobs?{name}={number}").status_code in {200, 400, 422}

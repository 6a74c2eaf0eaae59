"""The files for containers agree with the code: commands, settings, ports, what is copied, what Caddy forwards to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AliasChoices, BaseModel
from typer.main import get_command

from app.cli import app
from app.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CADDYFILE = (ROOT / "Caddyfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: Read by libraries: AWS' by obstore, Celery's and Flower's by those, Caddy's by our Caddyfile.
FOREIGN = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "CELERY_BROKER_URL", "FLOWER_BASIC_AUTH"}
FOR_CADDY = {"TUNEDECK_SITE", "TUNEDECK_CERTS"}


def known_variables(model: type[BaseModel] = Settings, prefix: str = "TUNEDECK_") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        kind, alias = field.annotation, field.validation_alias
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= known_variables(kind, f"{prefix}{name.upper()}__")
        elif isinstance(alias, AliasChoices):
            found |= {str(choice) for choice in alias.choices}
        else:
            found.add(prefix + name.upper())
    return found


def instructions(word: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.removeprefix(word).strip() for line in joined.splitlines() if line.startswith(f"{word} ")]


def commands() -> list[list[str]]:
    """Every command of ours: started, or asked for health."""
    found = [service.get("command") for service in SERVICES.values()]
    found += [service.get("healthcheck", {}).get("test", [])[1:] for service in SERVICES.values()]
    found += [json.loads(each) for each in instructions("CMD")]
    found += [json.loads(each.partition(" CMD ")[2]) for each in instructions("HEALTHCHECK")]
    return [each for each in found if each and each[0] == "tunedeck"]


def test_every_command_is_one_of_the_command_line() -> None:
    known: Any = get_command(app)
    for _, *words in commands():
        command, rest = known, list(words)
        while rest and hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        takes = [each for each in command.params if each.param_type_name == "argument"]
        assert len(rest) <= len(takes), words
    assert {tuple(each[1:]) for each in commands()} == {
        ("web",),
        ("db", "upgrade"),
        ("worker", "gpu"),
        ("worker", "light"),
        ("ready", "web"),
        ("ready", "gpu"),
        ("ready", "light"),
    }


def test_every_variable_is_a_setting() -> None:
    known = known_variables() | FOREIGN
    for name, service in SERVICES.items():
        if "tunedeck" in service["image"]:
            assert set(service.get("environment", {})) <= known, name
    assert {name for line in instructions("ENV") for name in re.findall(r"(TUNEDECK_\w+)=", line)} <= known
    asked = set(re.findall(r"\{\$(\w+)", CADDYFILE))
    assert asked == FOR_CADDY == set(SERVICES["caddy"]["environment"])


def test_ports_are_opened_on_loopback_alone() -> None:
    ports = [str(port) for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    tls = [port for port in ports if port.startswith("${TUNEDECK_BIND:-127.0.0.1}:") and port.endswith(":443")]
    assert len(tls) == 1  # the one that may be opened, by who says so
    assert all(port.startswith("127.0.0.1:") for port in ports if port not in tls)
    assert not [name for name, service in SERVICES.items() if service.get("network_mode") == "host"]


def test_caddy_forwards_to_the_web_processes_on_the_network_they_share() -> None:
    webs = {name: service for name, service in SERVICES.items() if name.startswith("web-")}
    ports = [str(service["environment"]["TUNEDECK_WEB__PORT"]) for service in webs.values()]
    forwarded = re.findall(
        r"127\.0\.0\.1:(\d+)", next(line for line in CADDYFILE.splitlines() if "reverse_proxy" in line)
    )
    assert sorted(forwarded) == sorted(ports)
    assert len(ports) == 2
    for service in (*webs.values(), SERVICES["caddy"]):
        assert service["network_mode"] == "service:net"
    inside = {port.rpartition(":")[2] for port in SERVICES["net"]["ports"]}
    assert inside == {"443", *re.findall(r"http://:(\d+)", SERVICES["caddy"]["environment"]["TUNEDECK_SITE"])}


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in {"net", "migrate"}])
def test_every_part_is_watched(name: str) -> None:
    service = SERVICES[name]
    target = service.get("build", {}).get("target", "")
    stage = DOCKERFILE.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service or (target and "HEALTHCHECK" in stage) or name == "caddy"
    waits = service.get("depends_on", {})
    if "DATABASE_URL" in service.get("environment", {}):
        assert waits["migrate"]["condition"] == "service_completed_successfully"


def test_images_are_built_from_stages_that_exist_and_files_that_are_sent() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} <= stages
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]}
    assert copied <= sent
    assert all((ROOT / name).exists() for name in sent)


def test_the_web_image_has_no_torch_and_no_image_runs_as_root() -> None:
    web = DOCKERFILE.partition(" AS web-build\n")[2].partition("\nFROM ")[0]
    assert ".[postgres,s3]" in web
    assert "bootstrap" not in web
    final = ("web", "worker-cpu", "worker-gpu", "flower")
    for name in final:
        assert "USER 10001" in DOCKERFILE.partition(f" AS {name}\n")[2].partition("\nFROM ")[0]


@pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed; the file is still read above.")
@pytest.mark.parametrize("env", [{}, {"TUNEDECK_SITE": "tunes.example.org", "TUNEDECK_CERTS": "email a@example.org"}])
def test_caddy_takes_its_file(env: dict[str, str], tmp_path: Path) -> None:
    caddy = shutil.which("caddy")
    assert caddy
    command = [caddy, "validate", "--config", str(ROOT / "Caddyfile"), "--adapter", "caddyfile"]
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(command, env=env | home, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr

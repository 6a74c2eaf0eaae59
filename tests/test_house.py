"""The house's rules that a linter cannot hold: what may be loaded where, and that papers and code agree."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import Environment

ROOT = Path(__file__).resolve().parents[1]
PAPERS = ("README.md", "CONTRIBUTING.md")


def loaded_by(*modules: str) -> set[str]:
    """The top-level names a fresh Python has loaded after importing `modules`."""
    program = f"import {', '.join(modules)}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["app.main", "app.cli", "worker.tasks", "worker.runner"])
def test_neither_web_nor_worker_loads_the_training_libraries(module: str) -> None:
    assert not loaded_by(module) & {"torch", "transformers", "trl", "peft", "datasets", "unsloth", "pandas"}


def test_the_web_process_starts_without_what_it_may_never_use() -> None:
    assert not loaded_by("app.main") & {"alembic", "prometheus_client", "smtplib"}


@pytest.mark.parametrize("module", ["app.main", "worker.tasks"])
def test_the_library_for_s3_is_loaded_only_where_it_is_used(module: str) -> None:
    assert "obstore" not in loaded_by(module, "app.core.context")


@pytest.mark.parametrize(
    "module", ["app.domain.jobs.config", "app.domain.datasets.formats", "worker.trainer.protocol", "worker.child"]
)
def test_what_children_share_needs_no_database_broker_or_torch(module: str) -> None:
    assert not loaded_by(module) & {"sqlmodel", "sqlalchemy", "celery", "redis", "fastapi", "torch"}


@pytest.mark.parametrize("folder", ["app/domain", "app/domain/jobs", "app/domain/datasets", "worker", "worker/trainer"])
def test_importing_a_room_runs_no_code(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").read_text(encoding="utf-8").strip()


def tracked_files() -> list[Path]:
    """What git holds or would take; without git, every file that is not a cache."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        return [ROOT / name for name in names if name and (ROOT / name).is_file()]
    hidden = {".venv", ".tunedeck", ".cache", "__pycache__", "dist"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not hidden & set(path.relative_to(ROOT).parts)]


def forbidden_words() -> Iterator[str]:
    """Written in pieces, so that this file passes: folders of one machine, and hosts of package registries."""
    yield from ("/wo" + "rk/", "sha" + "red/")
    yield from ("py" + "pi.org", "files.python" + "hosted", "registry.npm" + "js", "deb.deb" + "ian.org")
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "NPM_CONFIG_REGISTRY"):
        yield from re.findall(r"//(?:[^/@\s]*@)?([^/:\s]+)", os.environ.get(name, ""))


def test_no_file_names_this_machine_or_a_registry() -> None:
    words = [word.encode() for word in forbidden_words()]
    found = [
        f"{path.relative_to(ROOT)}: {word.decode()}"
        for path in tracked_files()
        for word in words
        if word in path.read_bytes()
    ]
    assert not found


def test_every_template_compiles() -> None:
    from app.web.render import environment

    templates: Environment = environment()
    names = templates.list_templates(extensions=["html"])
    assert names
    for name in names:
        templates.get_template(name)


def test_pages_hold_no_inline_script_or_style() -> None:
    """The content security policy would refuse them in silence."""
    inline = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>\s*\S|<style\b|\sstyle=|\son[a-z]+=", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}: {match.group()!r}"
        for path in (ROOT / "templates").rglob("*.html")
        for match in inline.finditer(re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL))
        if 'type="application/json"' not in match.group()
    ]
    assert not found


def test_nothing_marks_text_as_safe() -> None:
    pages = (ROOT / "templates").rglob("*.html")
    assert not [str(path) for path in pages if re.search(r"\|\s*safe\b", path.read_text(encoding="utf-8"))]


def test_every_setting_is_documented() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "settings_doc.py"))["page"]()
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == page, "Run: .venv/bin/python scripts/settings_doc.py > docs/settings.md"
    assert "|  |\n" not in page, "A setting has no description."


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_papers_name_only_targets_that_exist() -> None:
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in PAPERS)
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))
    assert named <= make_targets()
    assert make_targets() - named <= {"help", "lint"}


def test_every_command_in_the_papers_exists() -> None:
    from typer.main import get_command

    from app.cli import app

    commands = set(getattr(get_command(app), "commands", {}))
    compose = ROOT / "docker-compose.yml"
    text = "\n".join(path.read_text(encoding="utf-8") for path in [compose, *(ROOT / name for name in PAPERS)])
    named = set(re.findall(r"`tunedeck ([a-z]+)", text)) | set(re.findall(r'"tunedeck", "([a-z]+)"', text))
    assert named
    assert named <= commands


def test_links_between_papers_lead_somewhere() -> None:
    papers = [*(ROOT / name for name in PAPERS), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{paper.name}: {target}"
        for paper in papers
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", paper.read_text(encoding="utf-8"))
        if not (paper.parent / target).exists()
    ]
    assert not broken


def test_constraints_pin_every_direct_dependency() -> None:
    """A bare `name==version` a line: no host, no hash, no path."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    pinned = {normalised(line.partition("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [need for name in extras if name != "unsloth" for need in extras[name]]
    names = {normalised(re.split(r"[\[<>=!;\s]", need)[0]) for need in wanted} - {"tunedeck"}
    assert names <= pinned


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_long_files_say_why() -> None:
    """300 lines is the limit; a longer one has its reason at its head."""
    long = []
    for path in tracked_files():
        if path.suffix == ".py" and "migrations" not in path.parts:
            lines = path.read_text(encoding="utf-8").splitlines()
            if len(lines) > 300 and "long" not in "\n".join(lines[:15]).lower():
                long.append(f"{path.relative_to(ROOT)}: {len(lines)} lines")
    assert not long

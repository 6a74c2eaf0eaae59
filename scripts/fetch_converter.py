"""Put llama.cpp's own converter (Hugging Face folder -> GGUF) where the export finds it. Standard library only.

    python scripts/fetch_converter.py [DEST]        default: <environment>/share/tunedeck/llama.cpp

It is pure Python (MIT, about 2 MB) and comes out of the source package of llama-cpp-python, whose version and SHA-256
are pinned here; pip fetches it from this machine's own registry. Run again, it does nothing when all is there.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ROOT = f"llama_cpp_python-{VERSION}/vendor/llama.cpp"
#: Files and folders below ROOT that are wanted.
WANTED = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion", "gguf-py/gguf", "LICENSE")
STAMP = "VERSION"


def default_destination() -> Path:
    """Inside the Python environment, so that it comes and goes with it."""
    return Path(sys.prefix) / "share" / "tunedeck" / "llama.cpp"


def is_there(destination: Path) -> bool:
    """Whether a whole copy of this very version lies in `destination`."""
    stamp = destination / STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == f"{PACKAGE} {VERSION} {SHA256}"


def download(folder: Path) -> Path:
    """The checked source package. Raises `SystemExit` with a sentence."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", PACKAGE, f"{PACKAGE}=={VERSION}", "--dest", str(folder)]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(
            f"pip could not fetch {PACKAGE} {VERSION}: GGUF export stays off; run this script again later."
        )
    archive = folder / f"llama_cpp_python-{VERSION}.tar.gz"
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise SystemExit(f"{archive.name} is not the file that was pinned: its SHA-256 is {found}.")
    return archive


def unpack(archive: Path, into: Path) -> None:
    """Only the contents of the files that are wanted: no links, no modes."""
    # Written by hand: before Python 3.11.4 tarfile has no filters.
    with tarfile.open(archive) as tar:
        for member in tar:
            name = _below_root(member.name)
            source = tar.extractfile(member) if name is not None and member.isfile() else None
            if name is not None and source is not None:
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                (into / name).write_bytes(source.read())


def _below_root(name: str) -> str | None:
    if not name.startswith(f"{ROOT}/"):
        return None
    path = PurePosixPath(name.removeprefix(f"{ROOT}/"))
    wanted = any(path == PurePosixPath(one) or PurePosixPath(one) in path.parents for one in WANTED)
    return str(path) if wanted and ".." not in path.parts else None


def fetch(destination: Path) -> bool:
    """Make `destination` whole; False when it was already."""
    if is_there(destination):
        return False
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".converter-") as scratch:
        part = Path(scratch) / "part"
        unpack(download(Path(scratch)), part)
        (part / STAMP).write_text(f"{PACKAGE} {VERSION} {SHA256}\n", encoding="utf-8")
        shutil.rmtree(destination, ignore_errors=True)
        part.rename(destination)
    return True


def main() -> None:
    """Fetch and say so."""
    destination = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else default_destination()
    fetched = fetch(destination)
    print(f"llama.cpp's converter ({PACKAGE} {VERSION}) {'is now' if fetched else 'was already'} in {destination}")


if __name__ == "__main__":
    main()

"""A disk that fills up and a clock that jumps: what the operating system gives for it here."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import resource
import subprocess
from pathlib import Path

_FAKETIME = "vendor/libfaketime/src/libfaketime.so.1"


class SmallDisk:
    """A tmpfs at `place` that can be filled to the last byte. Where mounting is refused, `real` is False."""

    def __init__(self, place: Path, megabytes: int) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.was_full = False
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(place)]
        try:
            self.real = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            self.real = False

    def fill(self) -> None:
        """Nothing more fits: every write that needs a new page is refused with ENOSPC."""
        self.was_full = True
        block = b"\0" * 65_536
        with (self.place / "filler").open("ab", buffering=0) as file:
            try:
                while file.write(block):
                    pass
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise

    def limit(self, pid: int) -> None:
        """Where no disk could be mounted: this process may write no file beyond what it has (EFBIG)."""
        self.was_full = True
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def free(self) -> None:
        """There is room again."""
        (self.place / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        """Take it away, with all that is on it."""
        if self.real:
            subprocess.run(["umount", "-l", str(self.place)], check=False)


class Clock:
    """The wall clock of one worker and its children, by libfaketime; the monotonic one goes on as it does."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._library = _library()
        self.step(0)

    @property
    def real(self) -> bool:
        """Whether it can be stepped."""
        return bool(self._library)

    def step(self, seconds: int) -> None:
        """Stand `seconds` off the true time from now on."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        part.replace(self._file)

    def env(self) -> dict[str, str]:
        """For a process that goes by this clock."""
        if not self.real:
            return {}
        spec = {"FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_RESET": "1"}
        return spec | {"LD_PRELOAD": self._library, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def _library() -> str:
    """Debian's is older and breaks `time.sleep`."""
    found = importlib.util.find_spec("libfaketime")
    library = Path(found.origin or "").parent / _FAKETIME if found else None
    return str(library) if library and library.exists() else ""

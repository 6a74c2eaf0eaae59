"""`python -m worker.export.quantise_libllama LIB_DIR IN.gguf OUT.gguf FTYPE THREADS`: by a real libllama (ctypes).

Only the first two fields of `llama_model_quantize_params` are set (`nthread`, `ftype`: in place since 2023); the rest
is what the library itself gives as defaults, so the struct's later fields may change from release to release.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

from app.core.process import die_with_parent


class _Params(ctypes.Structure):
    """Larger than any known release's struct (72 to 80 bytes): the library fills its part, the rest is never read."""

    _fields_ = (("nthread", ctypes.c_int32), ("ftype", ctypes.c_int32), ("rest", ctypes.c_byte * 504))


def library(folder: Path, *patterns: str) -> Path | None:
    """The first file in `folder` (or its `lib`) that fits a pattern."""
    places = (folder, folder / "lib", folder / "bin", folder / "build" / "bin")
    fitting = (path for pattern in patterns for place in places for path in sorted(place.glob(pattern)))
    return next(fitting, None)


def _load(folder: Path) -> Any:
    """ggml first and for all to see: libllama is linked against it by name only."""
    for patterns in (("libggml-base.so*", "libggml-base*.dylib"), ("libggml.v*.so", "libggml.so*", "libggml.dylib")):
        if found := library(folder, *patterns):
            ggml = ctypes.CDLL(str(found), ctypes.RTLD_GLOBAL)
    found = library(folder, "libllama.v*.so", "libllama.so*", "libllama.dylib")
    if found is None:
        raise FileNotFoundError(f"no libllama in {folder}")
    load_backends = getattr(ggml, "ggml_backend_load_all_from_path", None)
    if load_backends is not None:
        load_backends.argtypes = [ctypes.c_char_p]
        load_backends(os.fsencode(found.parent))
    return ctypes.CDLL(str(found))


def quantise(folder: Path, source: Path, target: Path, ftype: int, threads: int) -> int:
    """libllama's own return code: 0 when `target` is written."""
    llama = _load(folder)
    llama.llama_model_quantize_default_params.restype = _Params
    llama.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(_Params)]
    llama.llama_model_quantize.restype = ctypes.c_uint32
    llama.llama_backend_init()
    params = llama.llama_model_quantize_default_params()
    params.nthread, params.ftype = threads, ftype
    code: int = llama.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))
    return code


def main() -> int:
    """libllama's return code; its log goes to stderr."""
    die_with_parent(signal.SIGKILL)
    folder, source, target, ftype, threads = sys.argv[1:]
    return quantise(Path(folder), Path(source), Path(target), int(ftype), int(threads))


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m worker.export.quantise_portable IN.gguf OUT.gguf KIND`: quantise without a llama.cpp build.

gguf-py reads and writes the file, `quantise_policy` chooses the types, and the numbers are ggml's own:
`ggml_quantize_chunk` out of xllamacpp's shared library. Byte for byte what `llama-quantize` writes, for the
architectures that the policy admits.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter

from app.core.process import die_with_parent
from worker.export.quantise_policy import KINDS, REFUSED, Shape, refusal, type_of

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class Refused(Exception):
    """The policy does not admit this model; the message says why."""


class Ggml:
    """The one function needed, out of xllamacpp's library."""

    def __init__(self) -> None:
        found = find_spec("xllamacpp")
        places = found.submodule_search_locations if found else None
        library = next(iter(sorted(Path(places[0]).glob("xllamacpp*.so"))), None) if places else None
        if library is None:
            raise FileNotFoundError("xllamacpp's shared library is not installed")
        self._chunk = ctypes.CDLL(str(library), mode=ctypes.RTLD_LOCAL).ggml_quantize_chunk
        self._chunk.restype = ctypes.c_size_t
        self._chunk.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]

    def quantise(self, rows: Floats, kind: GGMLQuantizationType) -> Bytes:
        """`rows` (n, row length) as packed blocks: (n, bytes per row)."""
        count, length = rows.shape
        block, size = GGML_QUANT_SIZES[kind]
        out = np.empty((count, length // block * size), np.uint8)
        written = self._chunk(int(kind), rows.ctypes.data, out.ctypes.data, 0, count, length, None)
        if written != out.nbytes:
            raise RuntimeError(f"ggml wrote {written} bytes where {out.nbytes} were expected")
        return out


def shape_of(reader: GGUFReader) -> Shape:
    """What the policy wants to know, out of the file's metadata."""

    def number(key: str) -> int:
        field = reader.fields.get(f"{arch}.{key}")
        value = field.contents() if field else 0
        return max(value) if isinstance(value, list) else int(value)

    arch = reader.fields["general.architecture"].contents()
    return Shape(
        arch=arch,
        layers=number("block_count"),
        tied=all(tensor.name != "output.weight" for tensor in reader.tensors),
        grouped=number("attention.head_count_kv") not in {0, number("attention.head_count")},
        experts=number("expert_count"),
    )


def quantise(source: Path, target: Path, kind: str) -> None:
    """Write `target`. Raises `Refused` when the policy does not admit the model."""
    reader = GGUFReader(source)
    shape = shape_of(reader)
    if reason := refusal(shape, (tensor.name for tensor in reader.tensors)):
        raise Refused(reason)
    plan = [(tensor, _target(tensor, kind, shape)) for tensor in reader.tensors]
    writer = GGUFWriter(target, shape.arch)
    _copy_metadata(reader, writer, kind)
    for tensor, chosen in plan:
        _announce(writer, tensor, chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    ggml = Ggml()
    for number, (tensor, chosen) in enumerate(plan, start=1):
        writer.write_tensor_data(tensor.data if chosen is None else _packed(ggml, tensor, chosen))
        print(f"[{number}/{len(plan)}] {tensor.name}", flush=True)  # noqa: T201 - read by the parent
    writer.close()


def _target(tensor: Any, kind: str, shape: Shape) -> GGMLQuantizationType | None:
    dims = tuple(int(n) for n in tensor.shape)
    wanted = type_of(tensor.name, dims, kind, shape)
    if wanted is None or GGMLQuantizationType[wanted] == tensor.tensor_type:
        return None
    return GGMLQuantizationType[wanted]


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter, kind: str) -> None:
    """All keys in their order; only the file type changes."""
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind_of = field.types[0]
        value = KINDS[kind][0] if key == "general.file_type" else field.contents()
        writer.add_key_value(key, value, kind_of, sub_type=field.types[-1] if kind_of == GGUFValueType.ARRAY else None)
    if "general.quantization_version" not in reader.fields:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _announce(writer: GGUFWriter, tensor: Any, chosen: GGMLQuantizationType | None) -> None:
    """Shapes are stored row length first, numpy's the other way round; packed rows are counted in bytes."""
    shape = tuple(reversed([int(n) for n in tensor.shape]))
    if chosen is None:
        writer.add_tensor_info(tensor.name, tensor.data.shape, tensor.data.dtype, tensor.n_bytes, tensor.tensor_type)
        return
    block, size = GGML_QUANT_SIZES[chosen]
    row = shape[-1] // block * size
    count = int(np.prod(shape[:-1]))
    if chosen == GGMLQuantizationType.F16:
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float16), count * row, chosen)
    else:
        writer.add_tensor_info(tensor.name, (*shape[:-1], row), np.dtype(np.uint8), count * row, chosen)


def _packed(ggml: Ggml, tensor: Any, chosen: GGMLQuantizationType) -> Any:
    shape = tuple(reversed([int(n) for n in tensor.shape]))
    floats = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1, shape[-1])
    rows = np.ascontiguousarray(floats, np.float32)
    if chosen == GGMLQuantizationType.F16:
        return rows.astype(np.float16)
    return ggml.quantise(rows, chosen)


def main() -> int:
    """Exit code 0, or `REFUSED` with the reason in the last line."""
    die_with_parent(signal.SIGKILL)
    source, target, kind = sys.argv[1:]
    try:
        quantise(Path(source), Path(target), kind)
    except Refused as exc:
        print(exc)  # noqa: T201 - read by the parent
        return REFUSED
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

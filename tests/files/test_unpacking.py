"""Packed files: read as they are unpacked, within bounds."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from app.domain.datasets.refusals import FormatError
from app.domain.files import unpacking
from app.domain.files.unpacking import unpacked

zstd = pytest.importorskip("backports.zstd")
PACKS: list[Callable[[bytes], bytes]] = [gzip.compress, zstd.compress]


def content(path: Path, most: int = 0) -> bytes:
    out = []
    with unpacked(path, most) as stream:
        while chunk := stream.read(10_000):
            out.append(chunk)
        assert stream.position == sum(map(len, out))
    return b"".join(out)


@pytest.mark.parametrize("pack", [bytes, *PACKS])
def test_it_reads_what_was_packed(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    file, data = tmp_path / "a", b"some text " * 9_999
    file.write_bytes(pack(data))
    assert content(file) == data
    file.write_bytes(pack(data) + pack(data))
    assert content(file) == data * 2


@pytest.mark.parametrize("pack", PACKS)
def test_what_is_peeked_at_is_read_again(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "a"
    file.write_bytes(pack(b"0123456789"))
    with unpacked(file) as stream:
        assert stream.peek(4) == b"0123"
        assert stream.peek(100) == b"0123456789"
        assert [stream.read(3), stream.read(100), stream.read(1)] == [b"012", b"3456789", b""]


@pytest.mark.parametrize("pack, harm", [(gzip.compress, "cut"), (gzip.compress, "bent"), (zstd.compress, "cut")])
def test_a_damaged_one_is_told(tmp_path: Path, pack: Callable[[bytes], bytes], harm: str) -> None:
    packed = bytearray(pack(bytes(range(256)) * 999))
    if harm == "cut":
        del packed[-7:]
    else:
        packed[len(packed) // 2] ^= 255
    file = tmp_path / "a"
    file.write_bytes(packed)
    with pytest.raises(FormatError, match="damaged or cut off"):
        content(file)


@pytest.mark.parametrize("pack", PACKS)
def test_a_bomb_is_not_unpacked(
    tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "SAFE_BYTES", 1_000_000)
    file = tmp_path / "a"
    file.write_bytes(pack(b" " * 20_000_000))
    with pytest.raises(FormatError, match="300 times its size"):
        content(file)


def test_there_is_a_limit_to_what_it_may_hold(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(gzip.compress(b"some text " * 9_999))
    with pytest.raises(FormatError, match="UNPACKED_GB"):
        content(file, most=50_000)

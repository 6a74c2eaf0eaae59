"""The collector rests while libraries are loaded, and what they made is never walked again."""

from __future__ import annotations

import gc
from contextlib import suppress
from importlib import import_module

import pytest

from app.core.process import loading


@pytest.mark.parametrize("name", ["json", "no_such_library"])
def test_it_works_again_afterwards_whatever_happened(name: str) -> None:
    gc.unfreeze()
    with suppress(ImportError), loading():
        assert not gc.isenabled()
        import_module(name)
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000
    gc.unfreeze()

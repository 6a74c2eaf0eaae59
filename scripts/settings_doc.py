"""Print `docs/settings.md` from the Settings tree, so that the page cannot fall behind the code.

.venv/bin/python scripts/settings_doc.py > docs/settings.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.core.settings import Settings

HEAD = """# Settings

Every setting is an environment variable; a list is written as JSON (`["a", "b"]`). None is needed to start.
Written by `scripts/settings_doc.py` from `app/core/settings.py`; a test compares them.
"""
PREFIX = "TUNEDECK_"


def page() -> str:
    """The whole page: the settings at the top of the tree, then a section for each group."""
    fields = Settings.model_fields
    groups = {name: group for name, field in fields.items() if (group := group_of(field))}
    top = {name: field for name, field in fields.items() if name not in groups}
    parts = [HEAD, *table(top, PREFIX)]
    for name, group in groups.items():
        parts += ["", f"## {name.capitalize()}", "", inspect.getdoc(group) or "", ""]
        parts += table(group.model_fields, f"{PREFIX}{name.upper()}__")
    return "\n".join(parts) + "\n"


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def table(fields: dict[str, FieldInfo], prefix: str) -> Iterator[str]:
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for name, field in fields.items():
        yield f"| {names(name, field, prefix)} | {default(field)} | {field.description or ''} |"


def names(name: str, field: FieldInfo, prefix: str) -> str:
    """The variables that set this field, the shown one first."""
    alias = field.validation_alias
    known = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [prefix + name.upper()]
    return ", ".join(f"`{variable}`" for variable in known if variable.isupper())


def default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    return "" if value is None or str(value) in ("", "[]") else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(page())

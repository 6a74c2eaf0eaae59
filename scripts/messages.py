"""`python scripts/messages.py [--missing]`: bring the catalogues of app/locale up to date, and compile them.

A catalogue is `app/locale/LANGUAGE/LC_MESSAGES/tunedeck.po`; the `.mo` beside it is what the program reads. What is new
stands there without a translation and is shown in English until it has one; `--missing` lists it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parents[1]
LOCALE = ROOT / "app" / "locale"
_CALLS = {"_": None, "translate": None, "translate_many": (1, 2), "ngettext": (1, 2)}
_JINJA = {
    "newstyle_gettext": "true", "trim_blocks": "true", "lstrip_blocks": "true", "extensions": "jinja2.ext.do",
    "silent": "no",
}  # fmt: skip
#: Samples for those who build pages.
_NOT_SHOWN = ("_patterns/", "patterns.html")
#: Modules of labels: every sentence or word with a capital is shown to people.
_LABELS = ("app/web/views/fields.py", "app/domain/exports/service.py", "app/web/errors.py")

#: Of the head of a file.
_LEFT_OUT = (b'"POT-', b'"PO-', b'"Project-Id', b'"Report-', b'"Last-Tr', b'"Language-Team', b'"Generated-By')

Message = str | tuple[str, str]


def messages() -> set[Message]:
    """Everything the code can say in another language."""
    found = set(_marked(ROOT / "templates", "*.html", "jinja2")) | set(_marked(ROOT / "app", "*.py", "python"))
    for file in (ROOT / "app").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        labels = str(file.relative_to(ROOT)) in _LABELS
        found |= set(_constants(tree)) if labels else set(_refusals(tree))
    plurals = {one for one, _many in (message for message in found if isinstance(message, tuple))}
    return {message for message in found if message and message not in plurals}


def _marked(folder: Path, pattern: str, method: str) -> Iterator[Message]:
    for file in sorted(folder.rglob(pattern)):
        if str(file.relative_to(folder)).startswith(_NOT_SHOWN):
            continue
        options = _JINJA if method == "jinja2" else {}
        with file.open("rb") as stream:
            for _line, message, _comments, _context in extract(method, stream, _CALLS, options=options):
                yield (message[0], message[1]) if isinstance(message, tuple) else message


def _refusals(tree: ast.AST) -> Iterator[str]:
    """Sentences of errors that a person meets."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Error")):
            continue
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and " " in first.value:
            yield first.value


def _constants(tree: ast.AST) -> Iterator[str]:
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # documentation
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in said else None
        if isinstance(text, str) and text[:1].isupper() and not text.isupper():
            yield text


def _empty(language: str) -> Catalog:
    head = f"# Tunedeck, {language}. Sentences come from the code: python scripts/messages.py"
    return Catalog(locale=language, header_comment=head, fuzzy=False)


def catalogue(language: str) -> Catalog:
    """As it stands in the repository."""
    file = LOCALE / language / "LC_MESSAGES" / "tunedeck.po"
    if not file.exists():
        return _empty(language)
    with file.open("rb") as stream:
        return read_po(stream, locale=language)


def updated(language: str) -> Catalog:
    """The same translations, for what the code says now."""
    known, fresh = catalogue(language), _empty(language)
    for message in sorted(messages(), key=str):
        one = message if isinstance(message, str) else message[0]
        before = known.get(one)
        fresh.add(message, before.string if before is not None and before.string else None)
    return fresh


def compiled(catalog: Catalog) -> bytes:
    """The `.mo`; the same at any hour."""
    out = BytesIO()
    catalog.creation_date = catalog.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    write_mo(out, catalog)
    return out.getvalue()


def text(catalog: Catalog) -> bytes:
    """The `.po`, without dates and names: it changes when a sentence does."""
    out = BytesIO()
    write_po(out, catalog, sort_output=True, width=0, omit_header=False, include_previous=False)
    return b"".join(line for line in out.getvalue().splitlines(keepends=True) if not line.startswith(_LEFT_OUT))


def main() -> int:
    """Write all of them."""
    for folder in sorted(LOCALE.iterdir()):
        language = folder.name
        fresh = updated(language)
        place = folder / "LC_MESSAGES"
        (place / "tunedeck.po").write_bytes(text(fresh))
        (place / "tunedeck.mo").write_bytes(compiled(fresh))
        missing = [message.id for message in fresh if message.id and not any(_strings(message.string))]
        print(f"{language}: {len(fresh)} messages, {len(missing)} without a translation")
        if "--missing" in sys.argv:
            print(*missing, sep="\n")
    return 0


def _strings(said: object) -> tuple[str, ...]:
    return said if isinstance(said, tuple) else (str(said or ""),)


if __name__ == "__main__":
    sys.exit(main())

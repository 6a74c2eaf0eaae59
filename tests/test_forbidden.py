"""What no line of this code base may do, looked up in its syntax trees: each is a way to run somebody else's code."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("app", "worker", "migrations", "scripts", "benchmarks")
#: Where something of the kind is meant, with the reason.
MEANT = {
    ("app/web/filters.py", "Markup"): "<time> elements, whose values are escaped by Markup.format",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for place in PLACES:
        for path in (ROOT / place).rglob("*.py"):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def name_of(node: ast.expr) -> str:
    """`a.b.c` of a name or an attribute; `.c` where something unnamed has it."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg == name), None)


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


_CODE = {"eval", "exec", "os.system", "os.popen", "tempfile.mktemp", "subprocess.getoutput"}
_CODE |= {"subprocess.getstatusoutput"}
_PICKLES = re.compile(r"^(pickle|cPickle|dill|cloudpickle|joblib|marshal|shelve)\.")
_UNSAFE_YAML = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}
_WEAK = {"hashlib.md5", "hashlib.sha1", "hashlib.new"}
_SQL = {"sa.text", "sqlalchemy.text"}


def last_of(call: ast.Call) -> str:
    return name_of(call.func).rpartition(".")[2]


def is_built(call: ast.Call) -> bool:
    """Whether the first argument is put together on the spot."""
    return bool(call.args) and isinstance(call.args[0], (ast.JoinedStr, ast.BinOp))


def is_other_than(call: ast.Call, name: str, value: object) -> bool:
    """Whether a keyword is given, and is not plainly `value`."""
    return keyword(call, name) is not None and not is_constant(keyword(call, name), value)


#: The name used in `MEANT`, and what is wrong with a call.
FAULTS: dict[str, Callable[[ast.Call], bool]] = {
    "Markup": lambda call: last_of(call) == "Markup",
    "code": lambda call: name_of(call.func) in _CODE,
    "shell": lambda call: is_other_than(call, "shell", value=False),
    "pickle": lambda call: bool(_PICKLES.match(name_of(call.func))) or is_other_than(call, "allow_pickle", value=False),
    "yaml": lambda call: name_of(call.func) in _UNSAFE_YAML,
    "torch.load": lambda call: (
        name_of(call.func) == "torch.load" and not is_constant(keyword(call, "weights_only"), value=True)
    ),
    "trust_remote_code": lambda call: is_constant(keyword(call, "trust_remote_code"), value=True),
    "verify": lambda call: (
        is_constant(keyword(call, "verify"), value=False) or last_of(call) == "_create_unverified_context"
    ),
    "unpack": lambda call: last_of(call) in {"extractall", "unpack_archive"},
    "weak hash": lambda call: (
        name_of(call.func) in _WEAK and not is_constant(keyword(call, "usedforsecurity"), value=False)
    ),
    "sql": lambda call: (name_of(call.func) in _SQL or last_of(call) == "exec_driver_sql") and is_built(call),
    "autoescape": lambda call: (
        last_of(call) == "Environment" and not is_constant(keyword(call, "autoescape"), value=True)
    ),
}


def faults(call: ast.Call) -> list[str]:
    return [name for name, is_wrong in FAULTS.items() if is_wrong(call)]


def found() -> list[tuple[str, str, int]]:
    return [
        (path, fault, node.lineno)
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for fault in faults(node)
    ]


def test_nothing_forbidden_is_called() -> None:
    wrong = [f"{path}:{line}: {fault}" for path, fault, line in found() if (path, fault) not in MEANT]
    assert wrong == []


def test_what_is_meant_is_still_there() -> None:
    assert {(path, fault) for path, fault, _ in found()} >= MEANT.keys()


def test_nothing_imports_what_can_hold_code() -> None:
    wrong = [
        f"{path}: {name}"
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.partition(".")[0] in {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "telnetlib"}
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "line, fault",
    [
        ("Markup(x)", "Markup"),
        ("markupsafe.Markup('<b>')", "Markup"),
        ("eval(x)", "code"),
        ("os.system('x')", "code"),
        ("subprocess.run('x', shell=True)", "shell"),
        ("subprocess.run('x', shell=flag)", "shell"),
        ("pickle.loads(x)", "pickle"),
        ("numpy.load(x, allow_pickle=True)", "pickle"),
        ("yaml.load(x)", "yaml"),
        ("torch.load(x)", "torch.load"),
        ("torch.load(x, weights_only=False)", "torch.load"),
        ("model.from_pretrained(x, trust_remote_code=True)", "trust_remote_code"),
        ("httpx.get(x, verify=False)", "verify"),
        ("archive.extractall(x)", "unpack"),
        ("hashlib.md5(x)", "weak hash"),
        ("sa.text(f'SELECT {x}')", "sql"),
        ("connection.exec_driver_sql('a' + x)", "sql"),
        ("Environment(loader=x)", "autoescape"),
    ],
)
def test_each_is_seen(line: str, fault: str) -> None:
    [call] = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call)]
    assert faults(call) == [fault]


@pytest.mark.parametrize(
    "line",
    ["torch.load(x, weights_only=True)", "yaml.safe_load(x)", "sa.text('SELECT 1')", "subprocess.run(x, shell=False)"],
)
def test_and_nothing_else(line: str) -> None:
    [call] = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call)]
    assert not faults(call)

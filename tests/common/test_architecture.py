"""The rules of the rooms: who may import whom, nothing at import, sizes, and no trace of one machine."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: folder -> package
PAPERS = {
    "pola": "pola",
    "loqa": "loqa",
    "iqflow": "iqflow",
    "stackelberg": "stackerlberg",  # the paper's own spelling
    "marlhf": "marlhf",
}
#: who imports none of the others
APART = {**PAPERS, "tournament": "tournament"}
#: PIL comes with Matplotlib
COMMON_MAY_IMPORT = {"numpy", "matplotlib", "PIL", "common", *sys.stdlib_module_names}
#: what a function of common imports where it is installed
OPTIONAL = {"tracking.py": {"wandb"}}


def _tracked(*patterns):
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()]


SOURCES = _tracked("*.py")
BINARY = {".png", ".npz", ".gif", ".safetensors"}
TEXTS = [path for path in _tracked() if path.suffix not in BINARY and "agents" not in path.parent.parts[-2:]]


def imported(tree):
    """The top-level names that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def works_at_import(tree):
    """The statements of a module's top level that are more than definitions."""
    allowed = (
        ast.Import,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
    )
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        # JAX's way to define a derivative: f.defvjp(forward, backward)
        derivative = isinstance(node, ast.Expr) and re.fullmatch(
            r"\w+\.def[vj]+p\([\w, ]+\)", ast.unparse(node)
        )
        main = isinstance(node, ast.If) and ast.unparse(node.test) in (
            "__name__ == '__main__'",
            "TYPE_CHECKING",
        )
        if not isinstance(node, allowed) and not docstring and not derivative and not main:
            yield node


def _relative(path):
    return path.relative_to(ROOT)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module(path):
    text = path.read_text("utf-8")
    tree, home = ast.parse(text), _relative(path).parts[0]
    names = set(imported(tree))
    if home in APART:
        others = set(APART.values()) - {APART[home]}
        assert not names & others, "papers do not import each other, nor the tournament, nor it them"
    if home == "common":
        may = COMMON_MAY_IMPORT | OPTIONAL.get(path.name, set())
        assert names <= may, "common imports NumPy, Matplotlib and the standard library only"
    if home != "tests":
        late = [f"line {node.lineno}: {ast.unparse(node)[:60]}" for node in works_at_import(tree)]
        assert not late, "no module does work at import"
    assert text.count("\n") <= 500
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 80, f"{node.name} is over 80 lines"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import a.b\ndef f():\n    from c import d\n", {"a", "c"}),
        ("from . import x\n", set()),
    ],
)
def test_the_checker_sees_imports(code, found):
    assert set(imported(ast.parse(code))) == found


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("'doc'\nX = 1\ndef f(): pass\nif __name__ == '__main__':\n    f()\n", 0),
        ("f()\n", 1),
        ("f.defvjp(forward, backward)\n", 0),
        ("f.defvjp(forward(), backward)\n", 1),
        ("for i in x: pass\n", 1),
    ],
)
def test_the_checker_sees_work_at_import(code, count):
    assert len(list(works_at_import(ast.parse(code)))) == count


def test_nothing_names_one_machine_or_a_registry():
    pattern = re.compile(
        r"(^|[^A-Za-z0-9_.])/(work|farm|root|home)/[A-Za-z.]|index-url[ =]|/simple/|pypi\.org|pythonhosted"
    )
    here = Path(__file__)
    hits = [
        f"{_relative(path)}:{number}"
        for path in TEXTS
        if path != here
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not hits


def test_no_file_is_over_a_mebibyte():
    assert not [str(_relative(path)) for path in _tracked() if path.stat().st_size > 2**20]


def test_every_paper_has_a_readme_and_a_started_one_its_rooms():
    for paper in APART:
        assert (ROOT / paper / "README.md").is_file()
        if (ROOT / paper / "pyproject.toml").is_file():
            for name in (
                "requirements.lock",
                "requirements-cuda.lock",
                "figures",
                *(["benchmarks"] if paper in PAPERS else []),
            ):
                assert (ROOT / paper / name).exists(), f"{paper} lacks {name}"
            assert len(list((ROOT / paper).glob("*/programs.py"))) == 1, f"{paper} needs one programs.py"
            manifests = sorted(path.stem for path in (ROOT / paper / "figures").glob("*.toml"))
            assert manifests
            for name in manifests:
                assert (ROOT / paper / "figures" / f"{name}.py").is_file()


def test_locks_hold_exact_versions_and_nothing_else():
    for path in _tracked("*.lock"):
        for line in path.read_text().splitlines():
            assert re.fullmatch(r"[a-z0-9.\-]+(\[[a-z0-9,\-]+\])?==[0-9a-z.]+( ; .+)?", line), (
                f"{path.name}: {line}"
            )

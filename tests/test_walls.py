"""The order of the package: every import goes down, none in a circle, and foreign libraries stay where they belong."""

import ast
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

import rigidities as rg

PACKAGE = Path(rg.__file__).parent

WINGS = (
    ("runtime", "rounding", "exceptions", "validation"),
    ("rows", "files", "state", "scores", "components", "penalty", "moments", "reason"),
    ("spectrum",),
    (
        "factor",
        "choice",
        "span",
        "span_form",
        "whitening",
        "forms",
        "prior",
        "updating",
        "hessian",
        "covariance",
        "leave_one_out",
        "ensemble",
        "weight_spread",
        "misspecification",
        "robust",
        "contrasts",
        "force_covariances",
        "shares",
    ),
    ("regularizer", "loss", "calibration", "planning", "estimator"),
    ("structures", "datasets"),
    ("interop",),
    ("sources", "model", "predictions"),
    ("report",),
    ("plot", "demo"),
    ("cli", "__main__"),
)
"""From the ground up. A wing imports from itself and from what is below; `_core` is below all of
them."""

LEVEL = {name: level for level, names in enumerate(WINGS) for name in names}
FOUNDATION = LEVEL["structures"]

ALLOWED = {"numpy", "scipy"}
"""Foreign libraries below `structures`, which adds ASE, and tqdm for progress."""


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def wing_of(module):
    """The first name after the package's."""
    return module.split(".")[1]


def imported(tree):
    """Every module that is imported anywhere in a file, with the line: in functions and for typing too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in {*MODULES, "rigidities._core"} else node.module), node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((argument.value, node.lineno) for argument in node.args if isinstance(argument, ast.Constant))


IMPORTS = {module: list(imported(ast.parse(path.read_text()))) for module, path in MODULES.items()}


def is_ours(name):
    return name.split(".")[0] == "rigidities" and name != "rigidities._core"


def test_every_file_is_in_a_wing():
    known = set(chain.from_iterable(WINGS))
    assert {wing_of(module) for module in MODULES if module != "rigidities"} <= known


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"rigidities"}))
def test_imports_go_down(module):
    for name, line in IMPORTS[module]:
        if is_ours(name) and name != "rigidities":
            assert LEVEL[wing_of(name)] <= LEVEL[wing_of(module)], f"{MODULES[module]}:{line} imports {name}"


def test_no_file_imports_the_whole_package():
    """`import rigidities` inside of it is a circle."""
    assert not [module for module, names in IMPORTS.items() if "rigidities" in dict(names)]


def test_no_file_imports_itself_by_a_detour():
    """A circle of files, imports in functions and for typing included; a package's own file only gathers its names."""
    graph = {
        module: {name for name, _ in names if is_ours(name) and name in MODULES and name != module}
        for module, names in IMPORTS.items()
    }
    state = {}

    def visit(module, path):
        state[module] = "open"
        for name in sorted(graph[module]):
            assert state.get(name) != "open", " → ".join([*path[path.index(name) :], module, name])
            if name not in state:
                visit(name, [*path, module])
        state[module] = "done"

    for module in sorted(graph):
        if module not in state:
            visit(module, [])


@pytest.mark.parametrize("module", sorted(MODULES))
def test_foreign_libraries_stay_where_they_belong(module):
    level = -1 if module == "rigidities" else LEVEL[wing_of(module)]
    foreign = {name.split(".")[0] for name, _ in IMPORTS[module]} - sys.stdlib_module_names - {"rigidities"}
    if level < FOUNDATION:
        assert foreign <= ALLOWED
    elif level == FOUNDATION:
        assert foreign <= ALLOWED | {"ase", "tqdm"}
    if wing_of(f"{module}.") != "cli" and module != "rigidities.__main__":
        assert "typer" not in foreign


def test_importing_the_package_loads_nothing_heavy():
    heavy = [
        "ase",
        "featomic",
        "metatensor",
        "torch",
        "sklearn",
        "matplotlib",
        "typer",
        "tqdm",
        "scipy",
        "dask",
        "skmatter",
    ]
    code = f"import sys, rigidities; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_dir_shows_the_public_names_only():
    assert sorted(dir(rg)) == sorted(rg.__all__)
    assert all(hasattr(rg, name) for name in rg.__all__)
    with pytest.raises(AttributeError, match="module 'rigidities' has no attribute 'nothing'"):
        rg.nothing  # noqa: B018


def test_some_public_names_are_loaded_when_they_are_asked_for():
    pytest.importorskip("ase")
    code = (
        "import sys, rigidities as rg; before = 'rigidities.model' in sys.modules; "
        "print(before, rg.LinearModel.__name__, rg.datasets.__name__)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "False LinearModel rigidities.datasets\n"


def test_nothing_outside_the_command_line_prints():
    for module, path in MODULES.items():
        if module != "rigidities" and wing_of(module) not in ("cli", "__main__"):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            assert not [call.lineno for call in calls if ast.unparse(call.func) == "print"], path


def test_no_file_is_too_long():
    """400 lines: beyond, a file has more than one noun."""
    for root in (PACKAGE, PACKAGE.parents[1] / "rust", PACKAGE.parents[1] / "benches", PACKAGE.parents[1] / "tests"):
        for path in chain(root.rglob("*.py"), root.rglob("*.rs")):
            assert len(path.read_text().splitlines()) <= 400, path

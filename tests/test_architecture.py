"""Who may import whom, read from the sources.

Imports run one way: `protocol` is the ground, `wire` stands on it, and artist side, coordinator
and node stand on those two and never on each other. bpy stays at one end. Every rule is also
shown to notice a module that breaks it.
"""

from __future__ import annotations

import ast
import fnmatch
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "rendermill"
NOT_SHIPPED = ("tests", "scripts", "docs", "build", "dist", "requirements", "demo-output")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "protocol": (),
    "wire": ("protocol",),
    "addon.scene": ("protocol",),
    "addon.client": ("protocol", "wire"),
    "addon.ui": ("protocol", "addon.scene", "addon.client", "background"),
    # A node or a coordinator as a process of its own, for commands and for the add-on.
    "background": ("wire.places", "node.locks"),
    "coordinator.farm": ("protocol",),
    "coordinator.store": ("protocol", "coordinator.farm"),
    "coordinator.identity": ("protocol", "wire", "coordinator.store"),
    "coordinator.assemble": ("protocol", "coordinator.farm", "coordinator.store"),
    "coordinator.web": ("protocol",),
    "coordinator.announce": ("protocol", "wire"),
    "coordinator.api": ("protocol", "coordinator"),
    "coordinator": ("protocol", "wire", "coordinator"),
    "node.blender.scripts": (),
    "node": ("protocol", "wire", "node"),
    "commands": (
        *("protocol", "wire", "addon.client", "addon.scene", "coordinator", "node", "background"),
    ),
    "__main__": ("commands",),
    # The package itself: register() for Blender and the public Python interface.
    "": ("addon.ui", "addon.client", "protocol", "wire"),
}
"""Longest prefix wins. A part may always import itself."""

NEVER: dict[str, tuple[str, ...]] = {
    "addon.scene": ("protocol.codec",),
    "node.blender.scripts": ("protocol",),
    "coordinator.api": ("coordinator.app",),
}
"""Exceptions to the above: codec needs wheels that a Blender may lack."""

MAY_IMPORT_BPY = ("addon.scene", "addon.ui", "node.blender.scripts")
BLENDER_MODULES = frozenset({"bpy", "bpy_extras", "mathutils", "gpu", "blf", "aud", "idprop"})

OUTSIDE: dict[str, frozenset[str]] = {
    "protocol.codec": frozenset({"msgpack", "msgspec"}),
    "protocol": frozenset(),
    "coordinator.farm": frozenset(),
    "addon.scene.compat": BLENDER_MODULES,
    "addon.scene.paths": BLENDER_MODULES,
    "addon.scene": BLENDER_MODULES | {"numpy"},
    "addon.ui": BLENDER_MODULES | {"numpy"},
    "node.blender.scripts": BLENDER_MODULES | {"_cycles", "addon_utils", "numpy"},
    "": frozenset(),
}
"""Packages beyond the standard library, where a part is bound to a list."""

PURE = ("protocol", "coordinator.farm")
NOT_PURE = frozenset(
    {
        "asyncio",
        "concurrent",
        "http",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "queue",
        "random",
        "secrets",
        "select",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
    }
)
"""Clocks, chance and I/O: a pure part gets their results as arguments."""

DISTRIBUTIONS = {"PIL": "pillow", "blender_asset_tracer": "blender-asset-tracer"}
"""Import names that are not the name of the distribution."""

LINES_MAX = 600
LONGER: dict[str, int] = {}
"""Modules allowed to be longer, with the length they may have and never exceed."""


@dataclass(frozen=True)
class Import:
    """One imported name: ``target`` is dotted inside the package, else the outside module."""

    line: int
    target: str
    inside: bool
    relative: bool
    lazy: bool
    """Inside a function, or only for the type checker."""


@dataclass(frozen=True)
class Module:
    """A source file; ``name`` is dotted below the package, '' for the package itself."""

    name: str
    path: Path
    lines: int
    imports: tuple[Import, ...]


def read_package(root: Path) -> dict[str, Module]:
    """Read every module of the package in ``root``, whose top level is the package itself."""
    sources: dict[str, Path] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if parts[0] in NOT_SHIPPED or any(part.startswith(".") for part in parts):
            continue
        names = [*parts[:-1]] if parts[-1] == "__init__.py" else [*parts[:-1], parts[-1][:-3]]
        sources[".".join(names)] = path
    return {name: _read_module(name, path, sources) for name, path in sources.items()}


def _read_module(name: str, path: Path, sources: dict[str, Path]) -> Module:
    text = path.read_text(encoding="utf-8")
    is_package = path.name == "__init__.py"
    found = _imports(ast.parse(text), name, is_package, frozenset(sources), lazy=False)
    return Module(name, path, len(text.splitlines()), tuple(found))


def _imports(
    node: ast.AST, name: str, is_package: bool, known: frozenset[str], *, lazy: bool
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield _outside(child.lineno, alias.name, lazy)
        elif isinstance(child, ast.ImportFrom):
            yield from _import_from(child, name, is_package, known, lazy)
        else:
            later = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            later = later or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
            yield from _imports(child, name, is_package, known, lazy=later)


def _outside(line: int, module: str, lazy: bool) -> Import:
    if module.partition(".")[0] == PACKAGE:
        return Import(line, module.partition(".")[2], True, False, lazy)
    return Import(line, module, False, False, lazy)


def _import_from(
    node: ast.ImportFrom, name: str, is_package: bool, known: frozenset[str], lazy: bool
) -> Iterator[Import]:
    if node.level == 0:
        yield _outside(node.lineno, node.module or "", lazy)
        return
    parts = name.split(".") if name else []
    up = node.level - (1 if is_package else 0)
    assert up <= len(parts), f"{name}:{node.lineno} imports from above the package"
    base = parts[: len(parts) - up]
    if node.module:
        base += node.module.split(".")
    for alias in node.names:
        whole = ".".join([*base, alias.name])
        yield Import(node.lineno, whole if whole in known else ".".join(base), True, True, lazy)


def part_of(name: str, table: dict[str, object]) -> str:
    """The longest key of ``table`` that is ``name`` or one of the packages above it."""
    while name not in table:
        name = name.rpartition(".")[0]
    return name


def is_below(name: str, part: str) -> bool:
    """Whether a module is ``part`` or lies in it."""
    return name == part or name.startswith(f"{part}.")


def wrong_directions(modules: dict[str, Module]) -> list[str]:
    """Imports inside the package that the table does not allow, and absolute ones."""
    wrong: list[str] = []
    for module in modules.values():
        part = part_of(module.name, dict(MAY_IMPORT))
        allowed = (part, *MAY_IMPORT[part])
        forbidden = NEVER.get(part, ())
        for imported in module.imports:
            where = f"{module.path.name} ({module.name}):{imported.line}"
            if not imported.inside:
                continue
            if not imported.relative:
                wrong.append(f"{where} names the package; only relative imports work in Blender")
            root_itself = imported.target == ""
            fits = any(is_below(imported.target, other) for other in allowed if other)
            bad = any(is_below(imported.target, other) for other in forbidden)
            # The version stands in the package's own module, which imports nothing by itself.
            if bad or not (fits or root_itself):
                wrong.append(f"{where} imports {imported.target}, which {part} must not")
    return wrong


def wrong_outside(modules: dict[str, Module], declared: frozenset[str]) -> list[str]:
    """Third-party imports that are not declared, not allowed there, or bpy in the wrong place."""
    wrong: list[str] = []
    for module in modules.values():
        bound = OUTSIDE[part_of(module.name, dict(OUTSIDE))]
        is_bound = part_of(module.name, dict(OUTSIDE)) != ""
        may_bpy = any(is_below(module.name, part) for part in MAY_IMPORT_BPY)
        for imported in module.imports:
            top = imported.target.split(".")[0]
            if imported.inside or top in sys.stdlib_module_names:
                continue
            where = f"{module.path.name} ({module.name}):{imported.line}"
            if top in BLENDER_MODULES and not may_bpy:
                wrong.append(f"{where} imports {top}; Blender is imported only in {MAY_IMPORT_BPY}")
            elif is_bound and top not in bound:
                wrong.append(f"{where} imports {top}, which this part must do without")
            elif not is_bound and DISTRIBUTIONS.get(top, top).lower() not in declared:
                wrong.append(f"{where} imports {top}, which pyproject.toml does not declare")
    return wrong


def impurities(modules: dict[str, Module]) -> list[str]:
    """Clocks, chance and I/O imported where results must follow from arguments alone."""
    return [
        f"{module.name}:{imported.line} imports {imported.target}; it must stay pure"
        for module in modules.values()
        if any(is_below(module.name, part) for part in PURE)
        for imported in module.imports
        if not imported.inside and imported.target.split(".")[0] in NOT_PURE
    ]


def cycles(modules: dict[str, Module]) -> list[str]:
    """Groups of modules that import each other while they load, each as one text."""
    edges = {
        name: {i.target for i in module.imports if i.inside and not i.lazy and i.target in modules}
        for name, module in modules.items()
    }
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append(" -> ".join([*trail[trail.index(name) :], name]))
            return
        if name in done:
            return
        for target in sorted(edges[name] - {name}):
            visit(target, (*trail, name))
        done.add(name)

    for name in sorted(edges):
        visit(name, ())
    return found


@cache
def package() -> dict[str, Module]:
    """Every module of Rendermill."""
    return read_package(ROOT)


@cache
def project() -> dict[str, dict[str, object]]:
    """The contents of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def declared_dependencies() -> frozenset[str]:
    """Names of the run-time dependencies."""
    dependencies = project()["project"]["dependencies"]
    assert isinstance(dependencies, list)
    return frozenset(str(item).split(">")[0].split("=")[0].strip().lower() for item in dependencies)


def test_imports_run_one_way() -> None:
    assert wrong_directions(package()) == []


def test_outside_packages_are_declared_and_in_their_place() -> None:
    assert wrong_outside(package(), declared_dependencies()) == []


def test_pure_parts_have_no_clock_no_chance_and_no_io() -> None:
    assert impurities(package()) == []


def test_no_import_cycles() -> None:
    assert cycles(package()) == []


def test_no_module_is_too_long() -> None:
    long = {
        str(module.path.relative_to(ROOT)): module.lines
        for module in package().values()
        if module.lines > LINES_MAX
    }
    too_long = {path: lines for path, lines in long.items() if lines > LONGER.get(path, LINES_MAX)}
    assert too_long == {}, f"longer than {LINES_MAX} lines: split them by ideas"
    assert set(LONGER) <= set(long), "modules that no longer need their exception"


def test_every_package_is_in_the_distribution() -> None:
    setuptools = project()["tool"]["setuptools"]
    assert isinstance(setuptools, dict)
    folders = {
        ".".join([PACKAGE, *module.path.relative_to(ROOT).parts[:-1]])
        for module in package().values()
    }
    assert set(setuptools["packages"]) == folders


def test_every_data_file_of_a_package_is_in_the_distribution() -> None:
    setuptools = project()["tool"]["setuptools"]
    assert isinstance(setuptools, dict)
    patterns: list[str] = setuptools["package-data"]["*"]
    folders = {module.path.parent for module in package().values()} - {ROOT}
    left_out: list[str] = []
    for name in _tracked_files():
        path = ROOT / name
        owner = next((parent for parent in path.parents if parent in folders), None)
        if owner is None or path.suffix == ".py":
            continue
        inside = path.relative_to(owner).as_posix()
        if not any(fnmatch.fnmatch(inside, pattern.replace("**/", "")) for pattern in patterns):
            left_out.append(name)
    assert left_out == []


def _tracked_files() -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_tests_that_load_blender_say_so() -> None:
    """A module that imports bpy without the mark would load it into the wrong process."""
    needs_bpy = {
        f"{PACKAGE}.{name}"
        for name, module in package().items()
        if any(i.target.split(".")[0] in BLENDER_MODULES and not i.lazy for i in module.imports)
    }
    unmarked: list[str] = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_bytes())
        if "pytest.mark.bpy" in path.read_text(encoding="utf-8"):
            continue
        own_name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for imported in _imports(tree, own_name, False, frozenset(), lazy=False):
            name = f"{PACKAGE}.{imported.target}" if imported.inside else imported.target
            if name == "bpy" or name.startswith("bpy.") or name in needs_bpy:
                unmarked.append(f"{path.relative_to(ROOT)}:{imported.line} imports {name}")
    assert unmarked == []


# --- each rule notices what breaks it ------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package that keeps every rule, to be broken by a test."""
    for folder in ("protocol", "addon/scene", "coordinator/farm", "node/blender/scripts"):
        for level in (tmp_path / folder, *(tmp_path / folder).parents):
            if level == tmp_path.parent:
                break
            level.mkdir(parents=True, exist_ok=True)
            (level / "__init__.py").touch()
    (tmp_path / "protocol/job.py").write_text("import re\n")
    (tmp_path / "node/link.py").write_text("import aiohttp\nfrom ..protocol.job import Job\n")
    (tmp_path / "addon/scene/capture.py").write_text("import bpy\nfrom ...protocol import job\n")
    return tmp_path


def test_a_clean_tree_has_nothing_wrong(tree: Path) -> None:
    modules = read_package(tree)
    assert wrong_directions(modules) == []
    assert wrong_outside(modules, frozenset({"aiohttp"})) == []
    assert impurities(modules) == []
    assert cycles(modules) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("protocol/job.py", "from ..node import link\n"),
        ("node/link.py", "from ..coordinator import farm\n"),
        ("node/link.py", "def f():\n    from ..coordinator import farm\n"),
        ("node/link.py", "from rendermill.protocol import job\n"),
        ("node/link.py", "import rendermill.protocol.job\n"),
        ("coordinator/farm/__init__.py", "from ...node import link\n"),
        ("node/blender/scripts/__init__.py", "from ....protocol import job\n"),
    ],
)
def test_a_wrong_direction_is_noticed(tree: Path, file: str, source: str) -> None:
    (tree / file).write_text(source)
    assert len(wrong_directions(read_package(tree))) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("node/link.py", "import bpy\n"),
        ("node/link.py", "def f():\n    import bpy\n"),
        ("node/link.py", "import flask\n"),
        ("protocol/job.py", "import msgpack\n"),
        ("addon/scene/capture.py", "import aiohttp\n"),
        ("coordinator/farm/__init__.py", "import aiohttp\n"),
    ],
)
def test_a_package_in_the_wrong_place_is_noticed(tree: Path, file: str, source: str) -> None:
    (tree / file).write_text(source)
    assert len(wrong_outside(read_package(tree), frozenset({"aiohttp", "msgpack"}))) == 1


def test_an_impurity_is_noticed(tree: Path) -> None:
    (tree / "coordinator/farm/__init__.py").write_text("from time import monotonic\n")
    assert len(impurities(read_package(tree))) == 1


def test_a_cycle_is_noticed_and_a_lazy_import_is_none(tree: Path) -> None:
    (tree / "protocol/a.py").write_text("from . import b\n")
    (tree / "protocol/b.py").write_text("def f():\n    from . import a\n")
    assert cycles(read_package(tree)) == []
    (tree / "protocol/b.py").write_text("from .a import f\n")
    assert cycles(read_package(tree)) == ["protocol.a -> protocol.b -> protocol.a"]

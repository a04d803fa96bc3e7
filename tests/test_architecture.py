"""A package imports only lower layers, there are no cycles, and only NumPy is needed."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "tinygrad_seq"
LAYERS = {
    "atomic": 0,
    "version": 0,
    "backend": 0,
    "hints": 0,
    "messages": 0,
    "trees": 0,
    "autograd": 1,
    "ops": 2,
    "html": 3,
    "interop": 3,
    "tensor": 3,
    "creation": 3,
    "transforms": 3,
    "recompute": 3,
    "recurrence": 4,
    "nn": 5,
    "distributions": 5,
    "seq": 6,
    "optim": 6,
    "data": 6,
    "io": 7,
    "testing": 7,
    "viz": 7,
    "parallel": 8,
    "__init__": 9,
}
# An extra is imported where it is used, inside a function or in the one folder that needs it.
ALLOWED = {
    "testing": {"hypothesis"},
    "io": {"safetensors", "onnxruntime"},
    "backend": {"numba", "llvmlite", "cupy"},
    "viz": {"matplotlib"},
    "parallel": {"mpi4py"},
}


class WithoutTypeChecking(ast.NodeTransformer):
    """Drops ``if TYPE_CHECKING:`` blocks: their imports are not made when the program runs."""

    def visit_If(self, node):
        return None if getattr(node.test, "id", "") == "TYPE_CHECKING" else node


def modules():
    return sorted(p for p in PACKAGE.rglob("*.py"))


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


@functools.cache
def imports_of(path):
    """Imported modules of this package as tuples of names, and the roots of others."""
    here = path.relative_to(PACKAGE.parent).parts[:-1]
    ours, others = set(), set()
    for node in ast.walk(WithoutTypeChecking().visit(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            full = (*base, *(node.module.split(".") if node.module else ()))[1:]
            for alias in node.names:
                target = PACKAGE.joinpath(*full, alias.name)
                known = target.is_dir() or target.with_suffix(".py").exists()
                ours.add((*full, alias.name) if known else full)
        elif isinstance(node, ast.ImportFrom):
            others.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
    return {o or ("__init__",) for o in ours}, others


def test_every_file_is_in_a_layer():
    assert {name_of(p)[0] for p in modules()} <= set(LAYERS)


def test_no_import_goes_up_or_across():
    wrong = []
    for path in modules():
        here = name_of(path)[0]
        for target in imports_of(path)[0]:
            there = target[0]
            across = LAYERS[there] == LAYERS[here] and there != here
            within_tensor_layer = LAYERS[there] == LAYERS[here] == LAYERS["tensor"]
            if LAYERS[there] > LAYERS[here] or (across and not within_tensor_layer):
                wrong.append(f"{'/'.join(name_of(path))} imports {'/'.join(target)}")
    assert not wrong


def test_no_import_cycles():
    graph = {name_of(p): imports_of(p)[0] for p in modules()}
    state = {}

    def visit(module, trail):
        if state.get(module) == "done":
            return
        assert state.get(module) != "open", " -> ".join("/".join(m) for m in [*trail, module])
        state[module] = "open"
        for target in graph.get(module, ()):
            if target != module:
                visit(target, [*trail, module])
        state[module] = "done"

    for module in graph:
        visit(module, [])


def test_only_numpy_is_needed_and_extras_stay_in_their_place():
    for path in modules():
        allowed = {"numpy", "__future__"} | ALLOWED.get(name_of(path)[0], set())
        foreign = imports_of(path)[1] - allowed - set(sys.stdlib_module_names)
        assert not foreign, f"{path.name} imports {foreign}"


def test_importing_the_library_imports_no_extra():
    code = (
        "import sys, tinygrad_seq; extras = 'hypothesis', 'safetensors', 'matplotlib', 'torch', "
        "'cupy', 'numba', 'mpi4py'; print([m for m in extras if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]"


def test_no_primitive_names_an_array_library():
    """Only backend/ knows which library computes; ops ask it."""
    for path in (PACKAGE / "ops").glob("*.py"):
        assert "numpy" not in imports_of(path)[1], path.name

"""The rules of the house, checked on the source itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mrirecon"
MODULES = sorted(PACKAGE.rglob("*.py"))

# The layers, lowest first: a module imports from a lower row or from its own folder.
LAYERS = [
    (
        "nearest",
        "outside",
        "options",
        "device",
        "progress",
        "brief",
        "plots",
        "tensors",
        "geometry",
        "volume",
        "scan_pictures",
        "scan",
    ),
    ("io",),
    (
        "coverage",
        "pattern",
        "phantom",
        "birdcage",
        "gradient_echo",
        "calibration",
        "echo",
        "masks",
        "simulate",
        "prepare",
        "scale",
        "noise",
    ),
    ("operators",),
    ("networks", "diffusion"),
    ("weights", "metrics", "perceptual", "side_by_side", "intervals"),
    ("methods",),
    ("recon",),
    ("training", "report", "benchmark"),
    ("cli",),
    ("__init__", "__main__"),
]
ROWS = {module: row for row, modules in enumerate(LAYERS) for module in modules}
# Modules of one row that import each other, always downwards in this order.
WITHIN_ROW = [
    ("options", "nearest"),
    ("device", "nearest"),
    ("tensors", "device"),
    ("scan", "tensors"),
    ("plots", "nearest"),
    ("plots", "options"),
    ("geometry", "brief"),
    ("volume", "plots"),
    ("volume", "geometry"),
    ("scan_pictures", "plots"),
    ("scan_pictures", "tensors"),
    ("scan_pictures", "geometry"),
    ("scan", "scan_pictures"),
    ("scan", "volume"),
    ("scan", "geometry"),
    ("masks", "coverage"),
    ("pattern", "coverage"),
    ("phantom", "simulate"),
    ("simulate", "birdcage"),
    ("simulate", "gradient_echo"),
    ("calibration", "coverage"),
    ("echo", "calibration"),
    ("echo", "coverage"),
    ("noise", "prepare"),
    ("prepare", "calibration"),
    ("prepare", "coverage"),
    ("scale", "prepare"),
    ("scale", "calibration"),
    ("scale", "coverage"),
    ("side_by_side", "metrics"),
    ("benchmark", "report"),
]
FORMAT_LIBRARIES = {"h5py", "nibabel", "ismrmrd", "twixtools", "pydicom", "png", "PIL"}
HEAVY_LIBRARIES = FORMAT_LIBRARIES | {
    "fastmri",
    "pytorch_lightning",
    "lightning",
    "matplotlib",
    "pandas",
    "sigpy",
    "skimage",
}
LINES, FUNCTION_LINES, CLASS_LINES = 350, 60, 200  # functions and classes without their docstring


def place(path):
    """(row name, module) of a source file: its folder, or itself at the top."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def tree(path):
    return ast.parse(path.read_text())


def imports(node):
    """Dotted names that the import statements below a node bring in."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative import"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)


def dotted(node):
    """`a.b.c` as text, or nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def attributes(path):
    return {dotted(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}


def name(path):
    return str(path.relative_to(PACKAGE))


def every_module():
    return pytest.mark.parametrize("path", MODULES, ids=name)


@every_module()
def test_imports_go_up_the_table(path):
    here = place(path)
    assert here in ROWS, f"{here} has no row in the table of layers: give it one"
    for imported in imports(tree(path)):
        parts = imported.split(".")
        if parts[0] != "mrirecon" or len(parts) < 2 or parts[1] not in ROWS:
            continue
        there = parts[1]
        lower = ROWS[there] < ROWS[here]
        assert lower or there == here or (here, there) in WITHIN_ROW, f"{name(path)}: {imported}"


@every_module()
def test_fourier_transforms_and_real_views_live_in_tensors(path):
    if name(path) == "tensors.py":
        return
    banned = ("torch.fft", "torch.view_as_real", "torch.view_as_complex", "np.fft", "numpy.fft")
    used = attributes(path) | set(imports(tree(path)))
    assert not [u for u in used if u.startswith((*banned, "scipy.fft"))]


@every_module()
def test_format_libraries_are_imported_in_io_and_inside_functions(path):
    source = tree(path)
    # Training is made of Lightning modules, and nothing but the train command imports it.
    heavy = HEAVY_LIBRARIES - ({"pytorch_lightning"} if place(path) == "training" else set())
    if place(path) != "io":
        assert not {i.split(".")[0] for i in imports(source)} & FORMAT_LIBRARIES
    for node in source.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not {i.split(".")[0] for i in imports(node)} & heavy


@every_module()
def test_only_the_command_line_prints(path):
    if place(path) == "cli":
        return
    calls = [n.func for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c, ast.Name) and c.id == "print"]
    assert not {"sys.stdout.write", "sys.stderr.write"} & attributes(path)


@every_module()
def test_devices_are_chosen_in_one_place(path):
    if name(path) != "device.py":
        assert "cuda" not in path.read_text().lower()


@every_module()
def test_no_module_is_a_drawer(path):
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert not drawers & set(path.relative_to(PACKAGE).with_suffix("").parts)


@every_module()
def test_operators_and_samplers_are_no_network_modules(path):
    if place(path) == "operators" or path.parent.name == "samplers":
        text = path.read_text()
        assert "nn.Module" not in text.replace("not an nn.Module", "")
        assert "torch.nn.Module" not in set(imports(tree(path)))


def definitions(node, kinds, within=""):
    """(dotted name, node) of functions or classes, nested ones too."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from definitions(child, kinds, within)
            continue
        if isinstance(child, kinds):
            yield f"{within}{child.name}", child
        yield from definitions(child, kinds, f"{within}{child.name}.")


def sizes_of(*kinds):
    """Lines of each function or class, its docstring left out."""
    sizes = {}
    for path in MODULES:
        for where, node in definitions(tree(path), kinds):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            sizes[f"{name(path)}: {where}"] = lines
    return sizes


def above(limit, sizes):
    return {what: lines for what, lines in sizes.items() if lines > limit}


def test_modules_fit_a_reader():
    assert not above(LINES, {name(path): len(path.read_text().splitlines()) for path in MODULES})


def test_functions_fit_a_reader():
    assert not above(FUNCTION_LINES, sizes_of(ast.FunctionDef, ast.AsyncFunctionDef))


def test_classes_fit_a_reader():
    assert not above(CLASS_LINES, sizes_of(ast.ClassDef))


def test_no_two_public_classes_share_a_name():
    places = {}
    for path in MODULES:
        for where, _ in definitions(tree(path), (ast.ClassDef,)):
            last = where.split(".")[-1]
            if not last.startswith("_"):
                places.setdefault(last, []).append(name(path))
    assert not {last: found for last, found in places.items() if len(found) > 1}


def file_of(imported):
    """The file of the package that an imported name is, or comes from."""
    parts = imported.split(".")
    if parts[0] != "mrirecon":
        return None
    for length in (len(parts), len(parts) - 1):
        path = PACKAGE.joinpath(*parts[1:length])
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if length > 1 and candidate in MODULES:
                return candidate
    return None


def circles(edges):
    """Sets of files each of which leads to all others of its set."""
    found, reached = [], {}
    for start in edges:
        seen, todo = set(), [start]
        while todo:
            for then in edges.get(todo.pop(), ()):
                if then not in seen:
                    seen.add(then)
                    todo.append(then)
        reached[start] = seen
    for start, seen in reached.items():
        circle = {start, *(one for one in seen if start in reached.get(one, ()))}
        if start in seen and circle not in found:
            found.append(circle)
    return found


def imports_between_files():
    """File -> files that it imports from, at its top or inside a function."""
    edges = {}
    for path in MODULES:
        found = {file_of(imported) for imported in imports(tree(path))} - {None, path}
        edges[name(path)] = {name(other) for other in found}
    return edges


def test_no_files_import_each_other_in_a_circle():
    assert not circles(imports_between_files())


def test_circles_are_found():
    edges = {"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert circles(edges) == [{"a", "b", "c"}, {"d", "e"}]
    assert len(imports_between_files()["cli/recon.py"]) > 10
    assert "report/__init__.py" in imports_between_files()["cli/recon.py"]  # inside a function


DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}
DRAWS_LIKE = {"rand_like", "randn_like", "randint_like"}  # torch gives them no generator
DRAWS_IN_PLACE = {
    f"{name}_"
    for name in ("normal", "uniform", "bernoulli", "random", "exponential", "log_normal", "cauchy")
}
SEEDS = {"torch.manual_seed", "torch.seed", "torch.random.manual_seed", "torch.set_rng_state"}


def draws_from_the_global_stream(source):
    """Names of the calls that draw from torch's global stream; the initial values of networks may."""
    found = []
    initial = {
        id(node)
        for function in ast.walk(source)
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
        for node in ast.walk(function)
    }
    for node in ast.walk(source):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        last = node.func.attr if isinstance(node.func, ast.Attribute) else name
        seeded = any(keyword.arg == "generator" for keyword in node.keywords)
        allowed = seeded or id(node) in initial or name.startswith("nn.init.")
        draws = last in DRAWS_IN_PLACE or name in {f"torch.{draw}" for draw in DRAWS}
        if (draws and not allowed) or last in DRAWS_LIKE or "dropout" in last.lower():
            found.append(name)
    return found


@every_module()
def test_no_global_random_state(path):
    allowed = {"default_rng", "Generator", "PCG64", "RandomState", "SeedSequence"}
    for used in attributes(path):
        for module in ("np.random.", "numpy.random."):
            if used.startswith(module):
                assert used.removeprefix(module).split(".")[0] in allowed
    # Dropout knows no generators: training seeds its stream anew for each batch.
    assert not SEEDS & attributes(path) or name(path) == "training/core/base.py"
    assert not [i for i in imports(tree(path)) if i == "random" or i.startswith("random.")]
    drawn = draws_from_the_global_stream(tree(path))
    if place(path) == "networks":
        drawn = [call for call in drawn if "dropout" not in call.lower()]
    assert not drawn


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("torch.randn_like(x)", 1),
        ("torch.randn(3)", 1),
        ("torch.randn(3, generator=g)", 0),
        ("x.normal_()", 1),
        ("x.uniform_(0, 1, generator=g)", 0),
        ("torch.bernoulli(p)", 1),
        ("rng.normal(size=3)", 0),
        ("F.dropout(x, 0.5)", 1),
        ("nn.init.xavier_uniform_(w)", 0),
        ("def __init__(self): self.w = torch.randn(3)", 0),
        ("def forward(self): return torch.rand(3)", 1),
    ],
)
def test_draws_from_the_global_stream_are_found(code, found):
    assert len(draws_from_the_global_stream(ast.parse(code))) == found


@every_module()
def test_public_things_are_documented(path):
    source = tree(path)
    assert ast.get_docstring(source), "module without docstring"
    for node in source.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, mrirecon; "
        f"print(sorted(set(sys.modules) & set({sorted(HEAVY_LIBRARIES)!r})), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "[]", done.stdout


def test_importing_every_layer_below_the_command_line_loads_nothing_heavy():
    layers = ["tensors", "scan", "io", "masks", "simulate", "prepare", "operators", "diffusion"]
    layers += ["diffusion.samplers", "methods", "recon"]
    code = (
        "import sys, importlib; "
        f"[importlib.import_module('mrirecon.' + m) for m in {layers!r}]; "
        f"print(sorted(set(sys.modules) & set({sorted(HEAVY_LIBRARIES)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_there_is_no_other_public_name():
    import mrirecon

    with pytest.raises(AttributeError, match="No mrirecon attribute nothing"):
        _ = mrirecon.nothing

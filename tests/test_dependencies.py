"""The order of the rooms: what may import what, at any depth and under any disguise."""

import ast
import pathlib

import pytest

import tfcodec
import tfcodec.models

PACKAGE = pathlib.Path(tfcodec.__file__).parent
MODELS = pathlib.Path(tfcodec.models.__file__).parent

# A module may import from its own room and from those of earlier lines, never from its neighbours
# on the line and never from later ones. What is no folder is a module of the package.
ORDER = (
    ("errors",),
    ("files", "metrics", "naming", "quiet"),
    ("layers", "coding"),
    ("entropy", "complexity", "quality", "pictures"),
    ("exact",),
    ("models",),
    ("exports",),
    ("codec",),
    ("freeze", "convert", "pillow", "api", "keras", "serving", "lite", "training", "evaluation"),
    ("beam",),
    ("commands",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}
ANY_BACKEND = ("layers", "entropy", "exact", "models", "errors", "training", "keras")


def room_of(name):
    """Room of a module by its full name; None for the package's own face."""
    part = (name.split(".") + [""])[1]
    return part if part in FLOOR else None


def modules():
    """{full name: path} of all modules of the package and of the models."""
    found = {}
    for root, prefix in ((PACKAGE, "tfcodec"), (MODELS, "tfcodec.models")):
        for path in sorted(root.rglob("*.py")):
            parts = [prefix, *path.relative_to(root).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return {name: path for name, path in found.items() if "saved_models" not in name}


def imports(source, late=True):
    """Full names of all that a source imports; with `late` inside functions, by `importlib`, and
    by any string that names a module of the package."""
    nodes, found = [ast.parse(source)], set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from tfcodec import codec` names a room; the package itself is its face.
            found |= names if node.module == "tfcodec" else {node.module} | names
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and late:
            words = node.value.split()
            if len(words) == 1 and words[0].startswith("tfcodec."):
                found.add(words[0])
        if late or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            nodes += ast.iter_child_nodes(node)
    return found


def wrong_ways(name, source):
    """What a module imports from its neighbours or from later rooms, or from the package's face."""
    own, wrong = room_of(name), set()
    for other in imports(source):
        if other.split(".")[0] != "tfcodec" or other == "tfcodec.__version__":
            continue
        room = room_of(other)
        if room is None or (room != own and FLOOR[room] >= FLOOR[own]):
            wrong.add(other)
    return wrong


def all_modules():
    # The face hands on names of any room.
    return {name: path for name, path in modules().items() if room_of(name)}


def test_every_module_is_in_a_room():
    assert {name for name in modules() if not room_of(name)} == {"tfcodec"}


@pytest.mark.parametrize("name", all_modules())
def test_imports_follow_the_order_and_never_return(name):
    assert not wrong_ways(name, modules()[name].read_text(encoding="utf-8"))


WRONG = (
    "import tfcodec.codec",
    "from tfcodec import codec",
    "def late():\n    from tfcodec.codec import Codec",
    "import importlib\nimportlib.import_module('tfcodec.exports.loaded')",
    "from tfcodec import pictures",  # a neighbour
    "from tfcodec import compress",  # the face
)


@pytest.mark.parametrize("line", WRONG)
def test_one_wrong_line_is_found(line):
    source = (PACKAGE / "entropy" / "walk.py").read_text(encoding="utf-8")
    assert not wrong_ways("tfcodec.entropy.walk", source)
    assert wrong_ways("tfcodec.entropy.walk", f"{source}\n{line}\n")


def test_within_a_room_there_is_no_circle():
    """Over the imports at the top of modules; rooms cannot form one, by their order."""
    names, arrows = all_modules(), {}
    for name, path in names.items():
        found = imports(path.read_text(encoding="utf-8"), late=False) - {name}
        arrows[name] = {other for other in found if other in names}
    while arrows:
        free = {name for name, others in arrows.items() if not others & set(arrows)}
        assert free, f"a circle among {sorted(arrows)}"
        arrows = {name: others for name, others in arrows.items() if name not in free}


@pytest.mark.parametrize(
    "name", [n for n in all_modules() if room_of(n) in ANY_BACKEND and ".backend_" not in n]
)
def test_what_trains_on_any_backend_imports_no_tensorflow(name):
    roots = {other.split(".")[0] for other in imports(modules()[name].read_text())}
    assert not roots & {"tensorflow", "tensorflow_compression_ops", "jax", "torch"}


def test_only_two_rooms_know_picture_files():
    """Until training reads through `pictures`, it does, too."""
    for name, path in all_modules().items():
        if room_of(name) not in ("pictures", "evaluation", "pillow", "training"):
            roots = {other.split(".")[0] for other in imports(path.read_text(encoding="utf-8"))}
            assert "PIL" not in roots, name


# -------------------------------------------------------------------------------------- proportions

MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS, MOST_LINES_OF_A_FOLDER = 450, 60, 8, 2200
# What is known to be larger, with the reason; each entry must still be needed.
LARGER = {
    "tfcodec.models": "ten codecs, a file each, and what they share",
    "tfcodec.layers": "eighteen ideas, each a file of its own",
    "tfcodec.commands": "a file a command, of which there are twelve",
    "tfcodec.training": "one subject, with a compiled step for each of two backends",
    "tfcodec.exports.write.write": "model, preset and config become one value",
    "tfcodec.serving.coder._bisect": "the state of a loop",
    "tfcodec.coding.arithmetic.decode": "the state of a loop, in a compiled function",
}


def too_large():
    """{full name: what is too large about it} of modules, functions and folders."""
    found, folders = {}, {}
    for name, path in modules().items():
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        folder = name if path.name == "__init__.py" else name.rpartition(".")[0]
        folders[folder] = folders.get(folder, 0) + lines
        if lines > MOST_LINES:
            found[name] = f"{lines} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.lineno + 1
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
                count = len([n for n in names if n != "self"]) + len(node.args.kwonlyargs)
                if length > MOST_LINES_OF_A_FUNCTION or count > MOST_PARAMETERS:
                    found[f"{name}.{node.name}"] = f"{length} lines, {count} parameters"
    folders.pop("tfcodec")  # modules at the top are rooms of their own
    found.update({n: f"{k} lines" for n, k in folders.items() if k > MOST_LINES_OF_A_FOLDER})
    return found


def test_files_functions_and_folders_keep_their_proportions():
    found = too_large()
    assert {name: what for name, what in found.items() if name not in LARGER} == {}
    assert set(LARGER) <= set(found), "a reason that is no longer needed"

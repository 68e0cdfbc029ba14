"""Arrows point one way: what may import what."""

import ast
import pathlib

import pytest

import tfcodec
import tfcodec.models

PACKAGE = pathlib.Path(tfcodec.__file__).parent
MODELS = pathlib.Path(tfcodec.models.__file__).parent
ANY_BACKEND = sorted(
    [
        *PACKAGE.glob("layers/*.py"),
        *PACKAGE.glob("entropy/*.py"),
        *MODELS.glob("*.py"),
        *(PACKAGE / f"{name}.py" for name in ("data", "losses", "training", "errors")),
    ]
)


def _imports(path, everywhere=False):
    """Names of the modules that a file imports when it is imported, or that it ever imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes, found = [tree], set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        if everywhere or not isinstance(node, ast.FunctionDef):
            nodes += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("path", ANY_BACKEND, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_what_trains_on_any_backend_imports_no_tensorflow(path):
    roots = {name.split(".")[0] for name in _imports(path)}
    assert not roots & {"tensorflow", "tensorflow_compression_ops", "jax", "torch"}


@pytest.mark.parametrize("folder", ["layers", "entropy"])
def test_layers_and_entropy_models_have_not_heard_of_models(folder):
    for path in (PACKAGE / folder).glob("*.py"):
        assert not [m for m in _imports(path, everywhere=True) if m.startswith("tfcodec.models")]

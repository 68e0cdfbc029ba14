"""Public functions say what they take and give."""

import ast

import pytest
from test_dependencies import modules


def public_functions(source):
    """(name, node) of the public functions of a module, and of its public classes' methods."""
    for node in ast.parse(source).body:
        owner, nodes = "", [node]
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            owner, nodes = f"{node.name}.", node.body
        for function in nodes:
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if not function.name.startswith("_") or function.name in ("__init__", "__call__"):
                    yield owner + function.name, function


def bare(function):
    """Names of what has no hint: parameters, and `return`."""
    a = function.args
    parameters = [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]
    names = [p.arg for p in parameters if p is not None and p.annotation is None]
    gives = function.returns is not None or function.name == "__init__"
    return [name for name in names if name not in ("self", "cls")] + ([] if gives else ["return"])


def bare_functions(source):
    """{name: what has no hint} of a module's public functions."""
    functions = {name: bare(function) for name, function in public_functions(source)}
    return {name: what for name, what in functions.items() if what}


@pytest.mark.parametrize("name", modules())
def test_every_public_function_has_hints(name):
    assert bare_functions(modules()[name].read_text(encoding="utf-8")) == {}


def test_one_missing_hint_is_found():
    source = "class A:\n    def f(self, x: int, *y, z=1): ...\n    def _f(self, x): ...\n"
    assert bare_functions(source) == {"A.f": ["z", "y", "return"]}

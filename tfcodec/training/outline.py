"""What a model of the package can be asked for, read from its source: no Keras for a mistake."""

import ast
import pathlib

from tfcodec import models
from tfcodec.errors import InputError


def outline(name: str) -> dict[str, dict[str, str]]:
    """{preset: {field of its configuration: name of its type}} of a model that comes with the
    package, in their order, read from its source: nothing is imported, neither Keras.

    Raises: InputError for another name.
    """
    if name not in models.MODELS:
        raise InputError(f"there is no model {name!r}; the models are {', '.join(models.MODELS)}")
    source = pathlib.Path(models.__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    presets, fields = {}, {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            members = [m for m in node.body if isinstance(m, ast.AnnAssign)]
            kinds = {m.target.id: ast.unparse(m.annotation) for m in members}
            fields[node.name] = {k: v for k, v in kinds.items() if not v.startswith("ClassVar")}
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PRESETS":
            pairs = zip(node.value.keys, node.value.values, strict=True)
            presets = {key.value: fields[ast.unparse(call.func)] for key, call in pairs}
    return presets

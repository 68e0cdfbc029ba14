"""The models: one file a paper, and the names of those that come with the package.

`build("mbt2018_mean", "compact")` gives a Keras model without weights; `build_weights()` of it
creates them. A name with a dot, such as `my_package.my_model`, is a module of your own that has
what each of these has: `Config`, `PRESETS` and `build`. Another unknown name lists the known ones.

Rules. May import: layers, entropy, exact's chains through entropy; Keras, no TensorFlow. Imported
by exports and above. Never knows: files, pictures, training.
"""

import dataclasses
import importlib
import types
from typing import Any

from tfcodec.errors import InputError

NAMES = "bmshj2018 mbt2018_mean ms2020 tcm weconvene weconvene3d icwem octave gllmm quad"
MODELS = tuple(NAMES.split())

# Precisions of the transforms, and Keras' policies that give them.
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}

# Values by which config.json of releases before 0.6 said that a preset was the paper's, or lacked
# something: today the presets have classes of their own, and such a field is left out.
RETIRED = {
    "widths": (),
    "linear": (),
    "wavelet": "",
    "latents": 0,
    "cross_kernel_size": 0,
    "gdn_order": 2,
}


def module(name: str) -> types.ModuleType:
    """The model's module: `Config`, `PRESETS`, `build`. Raises InputError for an unknown name."""
    if name in MODELS:
        return importlib.import_module(f"tfcodec.models.{name}")
    if "." not in name:
        raise InputError(f"there is no model {name!r}; the models are {', '.join(MODELS)}")
    try:
        found = importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"the model {name!r} cannot be imported ({error})") from error
    missing = [part for part in ("Config", "PRESETS", "build") if not hasattr(found, part)]
    if missing:
        raise InputError(f"the module {name!r} is no model: it has no {' and no '.join(missing)}")
    return found


def config(name: str, preset: str, **changes: Any) -> Any:
    """The configuration of a preset, with fields replaced; InputError for an unknown preset."""
    presets = module(name).PRESETS
    if preset not in presets:
        raise InputError(f"{name} has no preset {preset!r}; it has {', '.join(presets)}")
    return dataclasses.replace(presets[preset], **changes)


def read_config(name: str, fields: dict[str, Any]) -> Any:
    """The configuration of a model from JSON, which has lists where it has tuples.

    Its class is that of the model's which has all the fields, and the fewest others; a constant of
    the class serves as a field of that value. Raises: InputError if there is none.
    """
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    fields = {k: v for k, v in fields.items() if not (k in RETIRED and v == RETIRED[k])}
    model = module(name)
    kinds = {model.Config, *map(type, model.PRESETS.values())}
    for kind in sorted(kinds, key=lambda kind: len(dataclasses.fields(kind))):
        known = {field.name for field in dataclasses.fields(kind)}
        others = {k: v for k, v in fields.items() if k not in known}
        if all(getattr(kind, k, None) == v for k, v in others.items()):
            return kind(**{k: v for k, v in fields.items() if k in known})
    raise InputError(f"no configuration of {name} has the fields {', '.join(fields)}")


def build(name: str, preset: str, **changes: Any) -> Any:
    """A model of the zoo with the fields of its preset's configuration replaced by `changes`."""
    return module(name).build(config(name, preset, **changes), name=name)


def build_with_weights(name: str, config: Any, precision: str = "float32") -> Any:
    """The model of a configuration with its weights made, whatever Keras' global policy is.

    precision: of the transforms, a key of `PRECISIONS`; entropy models are float32 always.
    """
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(PRECISIONS[precision])
    try:
        return module(name).build(config, name=name).build_weights()
    finally:
        keras.config.set_dtype_policy(policy)


def describe(name: str, preset: str, config: Any) -> dict[str, Any]:
    """What a model is and costs, ready for JSON; what `tfcodec train --describe` prints.

    Returns: a dictionary of
        model, preset, config: as given;
        parameters: their number; parameters_of: the same of each sub-layer of the model;
        kmac_per_pixel: thousands of multiply-accumulates, {"encoder", "decoder"};
        stride: the picture's sides are padded to a multiple of it;
        latents: one {"name", "stride", "channels"} a step, in coding order.
    """
    from tfcodec import complexity

    model = module(name).build(config, name=name).build_weights()
    macs = complexity.macs_per_pixel(model)
    return {
        "model": name,
        "preset": preset,
        "config": dataclasses.asdict(config),
        "parameters": model.count_params(),
        "parameters_of": {
            layer.name: layer.count_params() for layer in model.layers if layer.weights
        },
        "kmac_per_pixel": {side: round(count / 1000, 3) for side, count in macs.items()},
        "stride": model.stride,
        "latents": [part.to_json() for part in model.parts],
    }

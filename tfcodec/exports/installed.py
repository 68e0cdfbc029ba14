"""The exports on this machine: found by name, by folder or by the fingerprint in a file."""

import dataclasses
import json
import os
import pathlib

from tfcodec.errors import ModelError
from tfcodec.quality import Ladder

MODELS_VARIABLE = "TFCODEC_MODELS"  # folders of more exports, os.pathsep between


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """An export on this machine: its name, its folder and its config.json."""

    name: str
    path: str
    config: dict

    @property
    def fingerprint(self) -> bytes:
        """4 bytes that name the weights in a file."""
        return bytes.fromhex(self.config["fingerprint"])

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names that find it among the installed models, such as "fast"."""
        return tuple(self.config.get("aliases", ()))

    @property
    def ladder(self) -> Ladder:
        """Its qualities as a `quality.Ladder`."""
        return Ladder.read(self.config)

    @property
    def qualities(self) -> tuple[float, float] | None:
        """(lowest, highest) quality, or None for a model of one rate."""
        return tuple(self.config["qualities"]) if self.config["qualities"] else None

    @property
    def default_quality(self) -> float | None:
        """The quality of who asks for none, or None for a model of one rate."""
        return self.config.get("default_quality")

    @property
    def portable(self) -> bool:
        """Whether its files decode to the same latents on every machine."""
        return bool(self.config.get("portable"))


def read_info(path: str | os.PathLike) -> ModelInfo:
    """The `ModelInfo` of one export's folder. Raises ModelError if it is none."""
    try:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        return ModelInfo(config["name"], str(path), config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: not an exported model, its config.json cannot be read"
        ) from error


def models() -> list[ModelInfo]:
    """All exports on this machine, the bundled ones first, in order of their names."""
    folders = [str(pathlib.Path(__file__).parents[1] / "saved_models")]
    if not os.path.isdir(folders[0]):  # a checkout: setup.py maps the folder beside the package
        folders = [str(pathlib.Path(__file__).parents[2] / "saved_models")]
    infos = []
    for folder in [*folders, *_more_folders()]:
        for config in sorted(pathlib.Path(folder).glob("*/config.json")):
            infos.append(read_info(config.parent))
    return infos


def _more_folders():
    return [f for f in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if f]


def missing_folders() -> str:
    """Half a sentence on the folders of `TFCODEC_MODELS` that hold no models; empty if all do."""
    wrong = [
        f"{folder}, which " + ("holds no exports" if os.path.isdir(folder) else "does not exist")
        for folder in _more_folders()
        if not any(pathlib.Path(folder).glob("*/config.json"))
    ]
    return f"{MODELS_VARIABLE} names {' and '.join(wrong)}" if wrong else ""


def find(name_or_dir: str | os.PathLike | None = None) -> ModelInfo:
    """The export of that name, alias or folder; None finds the bundled default.

    Raises: ModelError that lists the installed models.
    """
    if name_or_dir and os.path.isfile(os.path.join(name_or_dir, "config.json")):
        return read_info(name_or_dir)
    infos = models()
    if name_or_dir is None:
        if not infos:
            raise ModelError("no model is installed")
        return next((info for info in infos if info.config.get("default")), infos[0])
    for info in infos:
        if name_or_dir in (info.name, *info.aliases):
            return info
    if os.path.isdir(name_or_dir):
        raise ModelError(f"{name_or_dir}: this folder is no exported model, it has no config.json")
    names = ", ".join(name for info in infos for name in (info.name, *info.aliases)) or "none"
    raise ModelError(
        "; ".join(
            filter(
                None,
                [f"there is no model {name_or_dir!r}", f"installed: {names}", missing_folders()],
            )
        )
    )


def find_fingerprint(fingerprint: bytes, name: str = "input") -> ModelInfo:
    """The export that wrote a file. Raises ModelError if it is not installed."""
    infos = models()
    for info in infos:
        if info.fingerprint == fingerprint:
            return info
    names = ", ".join(f"{m.name} ({m.fingerprint.hex()})" for m in infos) or "none"
    cure = missing_folders() or f"{MODELS_VARIABLE} names folders of more models"
    raise ModelError(
        f"{name}: needs the model with fingerprint {fingerprint.hex()}; installed: {names}; {cure}"
    )

"""A training task as people write it (YAML), turned into what `task.submit` takes.

Inside the network a task holds integers only: a learning rate is in millionths, tau is a negative power of
two. Here both are ordinary numbers; a learning rate must be exact in millionths, tau goes to the nearest
power of two. What only the node can know (samples, features, classes) it reads from the data itself.

Source: PoUW §3.4; PROTOCOL section 5.
"""

from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from math import isqrt
from pathlib import Path
from typing import Any, Final

import yaml

from p2pai.chain import task
from p2pai.cli.money import parse_coins
from p2pai.cli.section import Section
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount

FILE_SIZE_MAX: Final = 64 * 1024
"""Bytes of a task file: four times the largest definition on chain."""

PACKAGED: Final = "package:"
"""Prefix of `data` that means a file shipped with p2pai."""

TAU_BITS: Final = range(6, 19)
FORMATS: Final = ("npz",)
METRICS: Final = ("loss", "accuracy")


@dataclass(frozen=True, slots=True)
class Submission:
    """Everything `task.submit` needs."""

    definition: dict[str, Any]
    data: Path
    fee: Amount

    def params(self) -> dict[str, Any]:
        """Return the parameters of the RPC."""
        return {"definition": self.definition, "data": str(self.data), "fee": self.fee}


def load(path: Path, data: Path | None = None) -> Submission:
    """Read a task file; `data` takes the place of the file's own.

    Raises:
      InvalidInput: one sentence that names the key at fault.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= FILE_SIZE_MAX else None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"can't read {path}: {_reason(error)}") from error
    if text is None:
        raise InvalidInput(f"{path} is larger than {FILE_SIZE_MAX // 1024} KiB: is it really a task file?")
    try:
        return parse(text, folder=path.parent, data=data)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def parse(text: str, *, folder: Path, data: Path | None = None) -> Submission:
    """Read the text of a task file; a relative `data` is looked up in `folder`."""
    root = Section(_read_yaml(text))
    named = root.text("data") if data is None or root.has("data") else ""
    definition = _definition(root)
    fee = parse_coins(str(root.decimal("fee")))
    root.close()
    return Submission(definition, _data_file(named, folder) if data is None else _existing(data), fee)


def nearest_tau_bits(tau: Decimal) -> int:
    """Return the b for which 2^-b is nearest to `tau` by ratio.

    Raises:
      InvalidInput: no allowed power of two is within a factor of the square root of two.
    """
    for bits in TAU_BITS:
        # 2^-b is nearest when 2^-(b+1/2) <= tau < 2^-(b-1/2); squared, both bounds are exact.
        if Decimal(2) ** -(2 * bits + 1) <= tau * tau < Decimal(2) ** -(2 * bits - 1) and tau > 0:
            return bits
    raise InvalidInput(f"tau must be between 2^-{TAU_BITS[-1]} and 2^-{TAU_BITS[0]} (0.0000038 to 0.0156)")


def _read_yaml(text: str) -> object:
    try:
        _refuse_twins(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f" at line {line + 1}" if line is not None else ""
        raise InvalidInput(f"this is not YAML{place}: {getattr(error, 'problem', None) or error}") from error


def _refuse_twins(top: yaml.Node | None) -> None:
    # The loader keeps the last of two equal keys; a person would never know.
    stack = [] if top is None else [top]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        # An alias can lead back to where it stands, so no node is looked at twice.
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))
        for child in node.value:
            stack.extend(child if isinstance(child, tuple) else (child,))
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for key in keys:
                if keys.count(key) > 1:
                    raise InvalidInput(f"{key} stands twice in one mapping")


def _definition(root: Section) -> dict[str, Any]:
    return {
        "name": root.text("name", length_max=64),
        **_model(root.section("model")),
        "optimiser": _optimiser(root.section("optimiser")),
        "tau_bits": nearest_tau_bits(root.decimal("tau")),
        "epochs": root.integer("epochs", 1, task.EPOCHS_MAX),
        "metrics": _metrics(root),
        "dataset": _dataset(root.section("dataset")),
        "group": _group(root.section("group")),
        "reward": _reward(root.section("reward")),
        "expected_blocks": root.integer("expected_blocks", 1, 100_000),
    }


def _model(model: Section) -> dict[str, Any]:
    layers = [
        _layer(Section(value, model.name(f"layers[{i}]")))
        for i, value in enumerate(model.items("layers", task.LAYER_COUNT_MAX))
    ]
    loss = model.text("loss", ("softmax_cross_entropy",))
    model.close()
    if any(layer["activation"] != "relu" for layer in layers[:-1]):
        raise InvalidInput("model.layers: every layer but the last needs activation: relu")
    if layers[-1]["activation"] != "none":
        raise InvalidInput("model.layers: the last layer has activation: none (its loss brings the softmax)")
    return {"layers": layers, "loss": loss}


def _layer(layer: Section) -> dict[str, Any]:
    units = layer.integer("units", 1, task.UNITS_MAX)
    activation = layer.text("activation", ("relu", "none"))
    layer.close()
    return {"units": units, "activation": activation}


def _optimiser(optimiser: Section) -> dict[str, int]:
    optimiser.text("name", ("sgd",))
    rate = optimiser.decimal("learning_rate")
    optimiser.close()
    ppm = rate * task.PPM
    if not 1 <= ppm <= 100 * task.PPM or ppm != int(ppm):
        raise InvalidInput("optimiser.learning_rate must be from 0.000001 to 100 in steps of 0.000001")
    return {"learning_rate_ppm": int(ppm)}


def _metrics(root: Section) -> list[str]:
    if root.has("metrics") and root.items("metrics", len(METRICS)) != list(METRICS):
        raise InvalidInput(f"metrics must be [{', '.join(METRICS)}]")
    return list(METRICS)


def _dataset(dataset: Section) -> dict[str, Any]:
    data_format = dataset.text("format", FORMATS)
    numbers = {
        "batch_size": dataset.integer("batch_size", 1, 4096),
        "fragment_count": dataset.integer("fragments", task.FRAGMENT_COUNT_MIN, task.FRAGMENT_COUNT_MAX),
        "training_percent": dataset.integer("training_percent", 1, 99),
        "validation_percent": dataset.integer("validation_percent", 0, 99),
    }
    dataset.close()
    if numbers["fragment_count"] * numbers["training_percent"] < 100:
        raise InvalidInput("dataset.training_percent leaves no whole fragment to train on")
    return {"format": data_format, **numbers}


def _group(group: Section) -> dict[str, int]:
    read = {
        "miners": group.integer("miners", 2, 256),
        "supervisors": group.integer("supervisors", 3, 256),
        "evaluators": group.integer("evaluators", 3, 32),
    }
    group.close()
    most = max(3, isqrt(read["miners"]))
    if read["supervisors"] > most:
        raise InvalidInput(
            f"group.supervisors is at most {most} for {read['miners']} miners (square root, or 3)"
        )
    return read


def _reward(reward: Section) -> dict[str, int]:
    read = {role: reward.integer(role, 0, 100) for role in ("miners", "supervisors", "evaluators")}
    reward.close()
    if sum(read.values()) != 100:
        raise InvalidInput(f"reward: the shares must sum to 100 per cent, not {sum(read.values())}")
    return read


def _data_file(named: str, folder: Path) -> Path:
    if not named.startswith(PACKAGED):
        return _existing(folder / named)
    name = named.removeprefix(PACKAGED)
    shipped = Path(str(files("p2pai") / "data"))
    if name not in sorted(p.name for p in shipped.glob("*.npz")):
        raise InvalidInput(f"data: p2pai ships no file called {name!r}")
    return (shipped / name).resolve()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InvalidInput(f"data: there is no file {path}; give its path with --data PATH")
    return path.resolve()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or "it can't be opened").lower()
    return "it is not UTF-8 text"

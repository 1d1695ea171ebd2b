"""A training task as people write it (YAML), turned into what `task.submit` takes.

Inside the network a task holds integers only: a learning rate is in millionths, tau is a negative power of
two. Here they are ordinary numbers, exact or refused; tau goes to the nearest power of two. What only the
data can tell (samples, features, classes) is left open.

Files of the project that this protocol comes from are read too: see original.py.

Source: PoUW §3.4; PROTOCOL section 5.
"""

from pathlib import Path
from typing import Final

import yaml

from p2pai.chain import task
from p2pai.chain.task import Dataset, Group, Reward
from p2pai.chain.training import FULL_REPLICAS, Assignment, Numerics, Redundancy, ReedSolomon
from p2pai.cli import network, original, recipe, submission
from p2pai.cli.money import parse_coins
from p2pai.cli.section import Section
from p2pai.cli.submission import Submission, Terms
from p2pai.primitives.errors import InvalidInput
from p2pai.vrf.selection import TRAIT_COUNT_MAX, TRAIT_VALUE_MAX

FILE_SIZE_MAX: Final = 64 * 1024
"""Bytes of a task file: four times the largest definition on chain."""

NAME_LENGTH_MAX: Final = 64
PROBLEM_SHOWN_MAX: Final = 100
"""Characters that a message quotes of what the YAML reader says."""

EXPECTED_BLOCKS_MAX: Final = 100_000
BATCH_SIZE: Final = 32
"""Samples of a mini-batch where a file does not say."""

ASSIGNMENTS: Final = {method.value.replace(" ", "_"): method for method in Assignment}
"""By their names in a file."""


class _Loader(yaml.SafeLoader):
    """Plain values alone; Python's tuples, which other writers of YAML leave behind, become lists."""


def _list(loader: _Loader, node: yaml.SequenceNode) -> list[object]:
    return loader.construct_sequence(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _list)


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
        return parse(text, folder=path.parent, data=data, name=path.stem)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def parse(text: str, *, folder: Path, data: Path | None = None, name: str = "task") -> Submission:
    """Read the text of a task file.

    Args:
      text: YAML.
      folder: where a relative `data` is looked up.
      data: takes the place of the file's own.
      name: of the task, where the file can't say it.
    """
    root = Section(_read_yaml(text))
    if original.is_original(root):
        return original.read(root, folder=folder, data=data, name=name[:NAME_LENGTH_MAX])
    return _read(root, folder, data)


def _read(root: Section, folder: Path, data: Path | None) -> Submission:
    named = root.text("data") if root.has("data") else ""
    if data is None and not named:
        raise InvalidInput("data is missing; name the file here or with --data PATH")
    form = root.section("dataset") if root.has("dataset") else Section({}, "dataset")
    model = network.read(root.section("model"))
    fee = parse_coins(str(root.decimal("fee")))
    definition = submission.draft(
        name=root.text("name", length_max=NAME_LENGTH_MAX),
        network=model,
        recipe=recipe.read(root, model.loss),
        dataset=_dataset(form, Path(named) if data is None else data),
        terms=_terms(root),
        numerics=Numerics(root.text("numerics", tuple(n.value for n in Numerics), default="exact")),
        mantissa_bits=_mantissa_bits(root),
    )
    root.close()
    found = submission.find_data(named, folder) if data is None else submission.existing(data)
    return Submission(definition, found, fee)


def _read_yaml(text: str) -> object:
    try:
        _refuse_twins(yaml.compose(text, Loader=_Loader))
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f" at line {line + 1}" if line is not None else ""
        raise InvalidInput(f"this is not YAML{place}: {_problem(error)}") from error


def _problem(error: Exception) -> str:
    """Return what is wrong with YAML as one short line."""
    lines = str(getattr(error, "problem", None) or error).splitlines()
    return lines[0][:PROBLEM_SHOWN_MAX] if lines else type(error).__name__


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


def _mantissa_bits(root: Section) -> int:
    if not root.has("mantissa_bits"):
        return submission.MANTISSA_BITS
    bits = root.integer("mantissa_bits", min(task.MANTISSA_BITS), max(task.MANTISSA_BITS))
    if bits not in task.MANTISSA_BITS:
        raise InvalidInput(f"mantissa_bits must be {' or '.join(map(str, task.MANTISSA_BITS))}")
    return bits


def _dataset(dataset: Section, data: Path) -> Dataset:
    form = dataset.text("format", submission.FORMATS, default=submission.format_of(data))
    batch_size = dataset.integer("batch_size", 1, task.BATCH_SIZE_MAX, default=BATCH_SIZE)
    fragments = dataset.integer(
        "fragments", task.FRAGMENT_COUNT_MIN, task.FRAGMENT_COUNT_MAX, default=submission.FRAGMENTS
    )
    percent = dataset.integer("training_percent", 1, 99, default=submission.TRAINING_PERCENT)
    dataset.close()
    if fragments * percent < 100:
        raise InvalidInput("dataset.training_percent leaves no whole fragment to train on")
    return submission.unread_dataset(form, batch_size, percent, fragments)


def _terms(root: Section) -> Terms:
    group = _group(root.section("group")) if root.has("group") else submission.GROUP
    return Terms(
        group=group,
        reward=_reward(root.section("reward")) if root.has("reward") else submission.REWARD,
        preferences=_preferences(root),
        expected_blocks=root.integer(
            "expected_blocks", 1, EXPECTED_BLOCKS_MAX, default=submission.EXPECTED_BLOCKS
        ),
        assignment=ASSIGNMENTS[root.text("assignment", tuple(ASSIGNMENTS), default="interleaved")],
        redundancy=_redundancy(root, group.supervisors) if root.has("redundancy") else FULL_REPLICAS,
    )


def _redundancy(root: Section, supervisors: int) -> Redundancy:
    kind, details = root.variant("redundancy", ("full",), ("reed_solomon",))
    if kind == "full":
        return FULL_REPLICAS
    section = details.section("reed_solomon")
    scheme = ReedSolomon(section.integer("data", 1, supervisors), section.integer("parity", 1, supervisors))
    section.close()
    if scheme.shards > supervisors:
        raise InvalidInput(
            f"redundancy.reed_solomon makes {scheme.shards} shards for {supervisors} supervisors, one each"
        )
    if not supervisors <= 3 * scheme.data <= 2 * supervisors:
        low, high = -(-supervisors // 3), 2 * supervisors // 3
        wanted = f"{low}" if low == high else f"{low} to {high}"
        raise InvalidInput(f"redundancy.reed_solomon.data must be {wanted} with {supervisors} supervisors")
    return scheme


def _group(group: Section) -> Group:
    default = submission.GROUP
    read = Group(
        miners=group.integer("miners", 2, 256, default=default.miners),
        supervisors=group.integer("supervisors", 3, 256, default=default.supervisors),
        evaluators=group.integer("evaluators", 3, 32, default=default.evaluators),
    )
    group.close()
    most = submission.supervisors_max(read.miners)
    if read.supervisors > most:
        raise InvalidInput(
            f"group.supervisors is at most {most} for {read.miners} miners (square root, or 3)"
        )
    return read


def _reward(reward: Section) -> Reward:
    read = Reward(*(reward.integer(role, 0, 100) for role in ("miners", "supervisors", "evaluators")))
    reward.close()
    total = read.miners + read.supervisors + read.evaluators
    if total != 100:
        raise InvalidInput(f"reward: the shares must sum to 100 per cent, not {total}")
    return read


def _preferences(root: Section) -> tuple[int, ...]:
    if not root.has("preferences"):
        return submission.PREFERENCES
    preferences = root.integers("preferences", 0, TRAIT_VALUE_MAX, TRAIT_COUNT_MAX)
    if not any(preferences):
        raise InvalidInput("preferences must hold a number above 0")
    return preferences


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or "it can't be opened").lower()
    return "it is not UTF-8 text"

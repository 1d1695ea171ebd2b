"""Task files: what is read, and one sentence for each way to get one wrong."""

import copy
import re
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from p2pai.cli import definition
from p2pai.primitives.errors import InvalidInput

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.yaml"
GOOD = yaml.safe_load(EXAMPLE.read_text())
ABSENT = object()


def changed(path, value):
    """Return the example with one key set, added or removed."""
    made = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    at = made
    for key in parents:
        at = at[int(key) if key.isdigit() else key]
    if value is ABSENT:
        del at[last]
    else:
        at[int(last) if last.isdigit() else last] = value
    return yaml.safe_dump(made)


def read(text, folder=EXAMPLE.parent, data=None):
    return definition.parse(text, folder=folder, data=data)


def test_the_example_is_what_the_node_is_asked():
    submission = definition.load(EXAMPLE)
    assert submission.fee == GOOD["fee"] * 10**8
    assert submission.data.name == "digits.npz"
    assert submission.data.is_file()
    params = submission.params()
    rate = Decimal(str(GOOD["optimiser"]["learning_rate"]))
    assert params["definition"]["optimiser"] == {"learning_rate_ppm": rate * 10**6}
    assert params["definition"]["layers"][0] == GOOD["model"]["layers"][0]
    assert params["definition"]["tau_bits"] in definition.TAU_BITS
    assert set(params["definition"]) == {
        "name", "layers", "loss", "optimiser", "tau_bits", "epochs", "metrics", "dataset", "group", "reward",
        "expected_blocks",
    }  # fmt: skip
    assert set(params["definition"]["dataset"]) == {
        "format", "batch_size", "fragment_count", "training_percent", "validation_percent",
    }  # fmt: skip


FAULTS = [
    ("name", ABSENT, "name is missing"),
    ("name", "", "name must be text of 1 to 64 characters"),
    ("name", "x" * 65, "name must be text of 1 to 64 characters"),
    ("name", 7, "name must be text"),
    ("fee", 0, "an amount is above 0"),
    ("fee", "much", "fee must be a number"),
    ("fee", True, "fee must be a number"),
    ("fee", float("nan"), "fee must be a number"),
    ("data", "package:secrets.npz", "p2pai ships no file called 'secrets.npz'"),
    ("data", "package:../__init__.py", "p2pai ships no file"),
    ("data", "absent.npz", "there is no file"),
    ("dataset", [1], "dataset must be a mapping"),
    ("dataset.format", "pickle", "dataset.format must be npz, not 'pickle'"),
    ("dataset.batch_size", 0, "dataset.batch_size must be a whole number from 1 to 4,096"),
    ("dataset.batch_size", 30.0, "dataset.batch_size must be a whole number"),
    ("dataset.batch_size", True, "dataset.batch_size must be a whole number"),
    ("dataset.fragments", 9, "dataset.fragments must be a whole number from 10 to 256"),
    ("dataset.training_percent", 100, "dataset.training_percent must be"),
    ("dataset.training_percent", 9, "dataset.training_percent leaves no whole fragment"),
    ("dataset.validation_percent", -1, "dataset.validation_percent must be"),
    ("dataset.batchsize", 3, "dataset.batchsize is not a known key; did you mean batch_size?"),
    ("zzz", 3, "zzz is not a known key; known keys: data, name"),
    ("model.layers", [], "model.layers must be a list of 1 to 32 items"),
    ("model.layers", "dense", "model.layers must be a list"),
    ("model.layers.0", 64, "model.layers[0] must be a mapping"),
    ("model.layers.0.units", 0, "model.layers[0].units must be a whole number"),
    ("model.layers.0.activation", "none", "every layer but the last needs activation: relu"),
    ("model.layers.0.activation", "gelu", "model.layers[0].activation must be relu or none"),
    ("model.layers.1.activation", "relu", "the last layer has activation: none"),
    ("model.layers.1.bias", False, "model.layers[1].bias is not a known key"),
    ("model.loss", "mse", "model.loss must be softmax_cross_entropy"),
    ("model.kind", "cnn", "model.kind is not a known key"),
    ("optimiser.name", "adam", "optimiser.name must be sgd"),
    ("optimiser.learning_rate", 0, "optimiser.learning_rate must be from 0.000001 to 100"),
    ("optimiser.learning_rate", 101, "optimiser.learning_rate must be from 0.000001 to 100"),
    ("optimiser.learning_rate", 0.00000015, "optimiser.learning_rate must be from 0.000001 to 100"),
    ("optimiser.momentum", 0.9, "optimiser.momentum is not a known key"),
    ("tau", 0, "tau must be between"),
    ("tau", -0.002, "tau must be between"),
    ("tau", 0.1, "tau must be between"),
    ("epochs", 0, "epochs must be a whole number from 1 to 65,535"),
    ("metrics", ["accuracy"], "metrics must be [loss, accuracy]"),
    ("group.miners", 1, "group.miners must be a whole number from 2 to 256"),
    ("group.supervisors", 4, "group.supervisors is at most 3 for 3 miners"),
    ("group.evaluators", 2, "group.evaluators must be a whole number from 3 to 32"),
    ("group.verifiers", 3, "group.verifiers is not a known key"),
    ("reward.miners", 71, "the shares must sum to 100 per cent, not 101"),
    ("expected_blocks", 0, "expected_blocks must be a whole number from 1 to 100,000"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "sentence"), FAULTS, ids=lambda v: str(v)[:30])
def test_each_fault_is_one_sentence_that_names_its_key(path, value, sentence):
    with pytest.raises(InvalidInput) as caught:
        read(changed(path, value))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", sorted(set(GOOD) - {"metrics"}))
def test_every_key_is_needed(key):
    with pytest.raises(InvalidInput, match=f"{key} is missing"):
        read(changed(key, ABSENT))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the file must be a mapping"),
        ("[]", "the file must be a mapping"),
        ("name: [", "this is not YAML"),
        ("name: !!python/object/apply:os.getpid []", "this is not YAML"),
        ("name: a\nname: b\n", "name stands twice"),
        ("dataset: {format: npz, format: npz}", "format stands twice"),
        ("a: &a [*a]", "name is missing|data is missing|recursive"),
        ("[" * 5000, "this is not YAML"),
    ],
)
def test_text_that_is_no_task(text, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        read(text)


def test_another_data_file_takes_the_place_of_the_named_one(tmp_path):
    other = tmp_path / "other.npz"
    other.write_bytes(b"")
    assert definition.load(EXAMPLE, other).data == other
    with pytest.raises(InvalidInput, match="there is no file"):
        definition.load(EXAMPLE, tmp_path / "absent.npz")


def test_a_relative_path_is_looked_up_beside_the_task(tmp_path):
    (tmp_path / "mine.npz").write_bytes(b"")
    assert read(changed("data", "mine.npz"), tmp_path).data == tmp_path / "mine.npz"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x: 1\n" * 20_000, None])
def test_a_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "task.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"task\.yaml"):
        definition.load(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    ),
    st.sampled_from(sorted(GOOD)),
)
def test_any_value_anywhere_is_read_or_refused(value, key):
    with suppress(InvalidInput):
        assert read(changed(key, value)).params()["fee"] > 0


@given(st.sampled_from(definition.TAU_BITS), st.decimals("0.7072", "1.4142"))
def test_tau_goes_to_the_nearest_power_of_two(bits, factor):
    assert definition.nearest_tau_bits(Decimal(2) ** -bits * factor) == bits


@pytest.mark.parametrize(("tau", "bits"), [("0.002", 9), ("0.001", 10), ("0.01", 7), ("0.015625", 6)])
def test_tau_of_common_values(tau, bits):
    assert definition.nearest_tau_bits(Decimal(tau)) == bits


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3"])
def test_learning_rate_is_exact_in_every_spelling(text):
    made = re.sub("learning_rate: .*", f"learning_rate: {text}", EXAMPLE.read_text())
    assert read(made).definition["optimiser"] == {"learning_rate_ppm": 1000}

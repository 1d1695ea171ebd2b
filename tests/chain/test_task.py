"""Targets: a definition survives the wire, and each rule refuses what breaks it alone."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.layers import Activation, Conv, Dense, Flatten, Function, Padding
from p2pai.chain.params import IT_RES_SIZE_MAX
from p2pai.chain.spec import dense_layers
from p2pai.chain.task import (
    DEFINITION_SIZE_MAX,
    MAP_DENSE_WEIGHTS_MAX,
    MAP_ELEMENTS_MAX,
    Group,
    Reward,
    TaskDefinition,
    check,
)
from p2pai.chain.training import (
    FULL_REPLICAS,
    Assignment,
    EarlyStopping,
    Holdout,
    KFold,
    Loss,
    ReedSolomon,
    Sgd,
    Target,
    Tau,
)
from p2pai.primitives.errors import InvalidMessage, InvalidTransaction
from tests.chain.ledger import definition, label

TASK = definition()


def with_data(**changes):
    return replace(TASK, dataset=replace(TASK.dataset, **changes))


def fragments(count):
    return tuple(label("fragment", i) for i in range(count))


def test_a_good_definition_passes():
    check(TASK)


def test_a_definition_survives_the_wire():
    assert TaskDefinition.decode(TASK.encode()) == TASK


def test_the_largest_definition_fits():
    large = replace(
        with_data(fragments=fragments(256), samples=2**32 - 1, training_percent=99),
        name="n" * 64,
        layers=(*[Conv(1, 1, 1, 1, Padding.SAME), Activation(Function.SIGMOID)] * 63, Flatten(), Dense(10)),
        input_shape=(8, 8, 1),
        preferences=(65_535,) * 64,
        client="p" * 64,
        epochs=1,
    )
    check(large)
    assert len(large.encode()) < DEFINITION_SIZE_MAX


class TestConsistentHashing:
    HASHED = replace(TASK, assignment=Assignment.CONSISTENT_HASHING)

    def test_survives_the_wire(self):
        check(self.HASHED)
        assert TaskDefinition.decode(self.HASHED.encode()) == self.HASHED

    def test_needs_an_end(self):
        with pytest.raises(InvalidTransaction, match="number of epochs"):
            check(replace(self.HASHED, epochs=0))

    def test_is_dealt_out_by_every_node_so_there_are_not_too_many_turns(self):
        check(replace(self.HASHED, epochs=2**18 // 60))  # mini-batches
        with pytest.raises(InvalidTransaction, match="turns"):
            check(replace(self.HASHED, epochs=2**18 // 60 + 1))
        check(replace(TASK, epochs=2**18 // 60 + 1))


class TestReedSolomon:
    LISTED = label("list of shards")

    def shared(self, scheme, supervisors=3, shards=LISTED):
        dataset = replace(TASK.dataset, shards=shards)
        miners = max(3, supervisors**2)
        return replace(TASK, redundancy=scheme, dataset=dataset, group=Group(miners, supervisors, 3))

    @pytest.mark.parametrize(
        ("data", "parity", "supervisors"), [(1, 1, 3), (2, 1, 3), (1, 2, 3), (10, 6, 16)]
    )
    def test_survives_the_wire(self, data, parity, supervisors):
        task = self.shared(ReedSolomon(data, parity), supervisors)
        check(task)
        assert TaskDefinition.decode(task.encode()) == task

    @pytest.mark.parametrize(
        ("scheme", "supervisors", "rule"),
        [
            (ReedSolomon(0, 1), 3, "at least 1 data and 1 parity"),
            (ReedSolomon(1, 0), 3, "at least 1 data and 1 parity"),
            (ReedSolomon(2, 2), 3, "at most as many shards as supervisors"),
            (ReedSolomon(1, 2), 4, "a third to two thirds"),
            (ReedSolomon(3, 1), 4, "a third to two thirds"),
        ],
    )
    def test_has_shards_for_its_supervisors(self, scheme, supervisors, rule):
        with pytest.raises(InvalidTransaction, match=rule):
            check(self.shared(scheme, supervisors))

    def test_names_the_list_of_its_shards(self):
        with pytest.raises(InvalidTransaction, match="list of shards is missing"):
            check(self.shared(ReedSolomon(2, 1), shards=None))
        with pytest.raises(InvalidTransaction, match="have no shards"):
            check(self.shared(FULL_REPLICAS))


@given(st.binary(max_size=300))
def test_any_bytes_give_a_definition_or_invalid_message(data):
    with contextlib.suppress(InvalidMessage):
        assert TaskDefinition.decode(data).encode() == data


@given(st.integers(0, 8 * len(TASK.encode()) - 1))
def test_any_bit_changed_gives_another_definition_or_invalid_message(bit):
    data = bytearray(TASK.encode())
    data[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(InvalidMessage):
        assert TaskDefinition.decode(bytes(data)) != TASK


def test_a_definition_beyond_the_limit_is_refused_unread():
    with pytest.raises(InvalidMessage, match="at most 16384"):
        TaskDefinition.decode(bytes(DEFINITION_SIZE_MAX + 1))


BROKEN = [
    (replace(TASK, name=""), "name has 1 to 64"),
    (replace(TASK, name="n" * 65), "name has 1 to 64"),
    (replace(TASK, layers=()), "1 to 128 layers"),
    (replace(TASK, mantissa_bits=8), "mantissas have 7 or 13 bits"),
    (replace(TASK, input_shape=(32, 2)), "a sample is"),
    (replace(TASK, input_shape=(65,)), "the input's shape holds all features"),
    (replace(TASK, layers=(Dense(11),)), "one output for each class"),
    (replace(TASK, layers=dense_layers([60_000] * 2, 10)), "weights, at most 16,777,216"),
    (
        replace(TASK, layers=(Dense(60_000), Dense(10)), dataset=replace(TASK.dataset, batch_size=4096)),
        "values in a batch, at most",
    ),
    (replace(TASK, loss=Loss.MSE, metrics=("mae",)), "one output for each number of a label"),
    (
        replace(with_data(targets=10), loss=Loss.MAE, metrics=("mae",)),
        "labels are classes, the loss wants numbers",
    ),
    (with_data(targets=1), "labels are numbers, the loss wants classes"),
    (
        replace(with_data(targets=256, classes=0), loss=Loss.MSE, metrics=("mae",), layers=(Dense(256),)),
        "at most 255 numbers in a label",
    ),
    (replace(TASK, loss=Loss.BINARY_CROSS_ENTROPY), "two classes and one output"),
    (replace(TASK, initialiser=replace(TASK.initialiser, variance_ppm=16_000_001)), "variance is at most 16"),
    (replace(TASK, metrics=("mae",)), "there is no metric 'mae'"),
    (with_data(fragments=fragments(9)), "10 to 256 fragments"),
    (with_data(fragments=fragments(257)), "10 to 256 fragments"),
    (with_data(fragments=(*fragments(10), label("fragment", 3))), "two fragments are equal"),
    (replace(with_data(classes=1), layers=(Dense(1),)), "2 to 1000 classes"),
    (replace(with_data(classes=1001), layers=(Dense(1001),)), "2 to 1000 classes"),
    (with_data(batch_size=0), "batch size"),
    (with_data(batch_size=4097), "batch size"),
    (replace(with_data(batch_size=4000, features=100), input_shape=(100,)), "a batch is at most 1 MiB"),
    (with_data(samples=0), "every fragment holds samples"),
    (with_data(samples=11), "every fragment holds samples"),
    (with_data(samples=2**32), "at most 4294967295 samples"),
    (with_data(training_percent=0), "training share"),
    (with_data(training_percent=100), "training share"),
    (with_data(training_percent=9), "no fragment is left for training"),
    (replace(TASK, validation=Holdout(100)), "validation share"),
    (replace(TASK, validation=Holdout(-1)), "validation share"),
    (replace(TASK, validation=KFold(1)), "2 to 20 folds"),
    (replace(TASK, validation=KFold(21)), "2 to 20 folds"),
    (replace(TASK, stopping=EarlyStopping("f1", 3)), "one of the task's metrics"),
    (replace(TASK, stopping=EarlyStopping("loss", 0)), "patience is 1 to 1000"),
    (replace(TASK, stopping=Target("loss", 5), validation=Holdout(0)), "needs validation data"),
    (with_data(format=""), "format has 1 to 16"),
    (with_data(format="f" * 17), "format has 1 to 16"),
    (replace(TASK, epochs=65_536), "epochs is at most"),
    (replace(with_data(samples=2**22, batch_size=1), epochs=1025), "at most 4294967295 iterations"),
    (replace(TASK, tau=Tau(5, 0)), "tau is between"),
    (replace(TASK, tau=Tau(19, 0)), "tau is between"),
    (replace(TASK, tau=Tau(9, 250_001)), "density of message maps is at most 0.25"),
    (replace(TASK, optimiser=Sgd(0)), "learning rate"),
    (replace(TASK, optimiser=Sgd(16_000_001)), "learning rate"),
    (replace(TASK, reward=Reward(70, 15, 16)), "rewards sum to 100"),
    (replace(TASK, group=Group(1, 3, 3)), "2 to 256 miners"),
    (replace(TASK, group=Group(257, 3, 3)), "2 to 256 miners"),
    (replace(TASK, group=Group(3, 2, 3)), "at least 3 supervisors"),
    (replace(TASK, group=Group(15, 4, 3)), "too many supervisors"),
    (replace(TASK, group=Group(3, 3, 2)), "3 to 32 evaluators"),
    (replace(TASK, group=Group(3, 3, 33)), "3 to 32 evaluators"),
    (replace(TASK, expected_blocks=0), "expected_blocks"),
    (replace(TASK, expected_blocks=100_001), "expected_blocks"),
    (replace(TASK, client="p" * 65), "peer id is too long"),
]


@pytest.mark.parametrize(("task", "rule"), BROKEN, ids=[f"{i}-{r[:20]}" for i, (_, r) in enumerate(BROKEN)])
def test_each_rule_refuses_what_breaks_it(task, rule):
    with pytest.raises(InvalidTransaction, match=rule):
        check(task)


@pytest.mark.parametrize("group", [Group(2, 3, 3), Group(15, 3, 3), Group(16, 4, 3), Group(256, 16, 32)])
def test_groups_at_the_limits_pass(group):
    check(replace(TASK, group=group))


def test_weights_and_biases_are_counted():
    assert TASK.weight_count == 64 * 128 + 128 + 128 * 10 + 10


def test_the_largest_message_map_of_the_largest_model_fits_it_res():
    assert MAP_DENSE_WEIGHTS_MAX * 2 // 8 + 2048 < IT_RES_SIZE_MAX
    assert MAP_ELEMENTS_MAX * 4 + 2048 < IT_RES_SIZE_MAX


def test_the_message_map_of_a_large_model_is_limited():
    assert TASK.map_elements_max == TASK.weight_count
    assert replace(TASK, layers=dense_layers([4000], 10)).map_elements_max == MAP_ELEMENTS_MAX


def test_a_draft_is_completed_with_what_the_data_gave():
    draft = replace(with_data(samples=0, features=0, classes=0, fragments=fragments(10)), input_shape=())
    data = TASK.dataset
    done = draft.with_data(data.samples, data.features, data.classes, 0, data.fragments)
    assert done == TASK
    image = replace(draft, input_shape=(8, 8, 1)).with_data(data.samples, 64, 10, 0, data.fragments)
    assert image.input_shape == (8, 8, 1)


def test_the_training_share_is_rounded_down():
    assert TASK.training_fragment_count == 8
    assert with_data(fragments=fragments(11), training_percent=50).training_fragment_count == 5


def test_batches_of_the_last_fragment():
    task = with_data(samples=1797, batch_size=30)
    assert [task.batches_in_fragment(i) for i in range(10)] == [6] * 10
    task = with_data(samples=1801, batch_size=30)  # ten fragments of 181, the last has 172
    assert [task.batches_in_fragment(i) for i in range(10)] == [7] * 9 + [6]


@given(st.integers(10, 256), st.integers(1, 10**6), st.integers(1, 4096))
def test_batches_cover_every_sample_once(count, samples, batch_size):
    task = with_data(fragments=fragments(count), samples=samples, batch_size=batch_size)
    per_fragment = -(-samples // count)
    if samples <= per_fragment * (count - 1):
        return
    lengths = [min(per_fragment, samples - i * per_fragment) for i in range(count)]
    assert sum(lengths) == samples
    for i, length in enumerate(lengths):
        batches = task.batches_in_fragment(i)
        assert (batches - 1) * batch_size < length <= batches * batch_size

"""Records: what goes out comes back, and what does not fit its annotations is refused."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai import jobs
from p2pai.primitives import cbor, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Amount, BlobId, Hash32, KeyHash, Outpoint, PeerId, TaskId


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Line:
    start: Point
    end: Point | None


@dataclass(frozen=True, slots=True)
class Circle:
    centre: Point
    radius: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """Every kind of field there is."""

    task: TaskId
    owner: KeyHash
    price: Amount
    ticket: Outpoint
    title: str
    data: bytes | None
    is_final: bool
    frame: Line | Circle
    hint: Line | Circle | None
    shapes: tuple[Line | Circle, ...]
    pair: tuple[int, str]
    blobs: tuple[BlobId, ...]
    nested: tuple[tuple[Point, ...], ...]
    ghost: tuple[int, int] | None
    peer: PeerId


@dataclass(frozen=True, slots=True)
class Empty:
    pass


numbers = st.integers(0, cbor.INTEGER_MAX)
hashes = st.binary(min_size=32, max_size=32)
points = st.builds(Point, numbers, numbers)
shapes = st.builds(Line, points, st.none() | points) | st.builds(Circle, points, numbers)
drawings = st.builds(
    Drawing,
    task=hashes,
    owner=st.binary(min_size=20, max_size=20),
    price=numbers,
    ticket=st.builds(Outpoint, hashes, st.integers(0, 2**32 - 1)),
    title=st.text(),
    data=st.none() | st.binary(),
    is_final=st.booleans(),
    frame=shapes,
    hint=st.none() | shapes,
    shapes=st.lists(shapes, max_size=3).map(tuple),
    pair=st.tuples(numbers, st.text()),
    blobs=st.lists(hashes, max_size=3).map(tuple),
    nested=st.lists(st.lists(points, max_size=2).map(tuple), max_size=2).map(tuple),
    ghost=st.none() | st.tuples(numbers, numbers),
    peer=st.text(),
)

DRAWING = Drawing(
    task=TaskId(Hash32(bytes(32))),
    owner=KeyHash(bytes(20)),
    price=Amount(5),
    ticket=Outpoint(Hash32(bytes(32)), 1),
    title="t",
    data=None,
    is_final=True,
    frame=Circle(Point(1, 2), 3),
    hint=None,
    shapes=(Line(Point(1, 2), None), Circle(Point(0, 0), 9)),
    pair=(1, "a"),
    blobs=(),
    nested=((Point(4, 5),), ()),
    ghost=(6, 7),
    peer=PeerId("Qm"),
)


@given(drawings)
def test_a_round_trip_is_the_identity(drawing):
    assert record.decode(Drawing, record.encode(drawing), size_max=1 << 20) == drawing


@given(shapes)
def test_a_tagged_round_trip_is_the_identity(shape):
    data = record.encode_tagged(shape)
    assert cbor.decode(data, size_max=1 << 10)[0] == type(shape).__name__
    assert record.decode_tagged(Line | Circle, data, size_max=1 << 10) == shape
    assert record.decode_tagged(Line | Circle | None, data, size_max=1 << 10) == shape
    assert record.decode_tagged(type(shape), data, size_max=1 << 10) == shape


def test_the_encoding_is_the_fields_in_order():
    assert cbor.decode(record.encode(Line(Point(1, 2), None)), size_max=99) == [[1, 2], None]
    assert cbor.decode(record.encode_tagged(Point(1, 2)), size_max=99) == ["Point", 1, 2]
    assert cbor.decode(record.encode(DRAWING), size_max=999)[7:10] == [
        ["Circle", [1, 2], 3],
        None,
        [["Line", [1, 2], None], ["Circle", [0, 0], 9]],
    ]
    assert record.encode(Empty()) == b"\x80"


@given(st.integers(0, 14), st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(), st.binary()))
def test_a_field_of_another_type_is_refused_or_reads_as_itself(place, value):
    fields = record.to_value(DRAWING)
    fields[place] = value
    try:
        read = record.decode(Drawing, cbor.encode(fields), size_max=1 << 10)
    except InvalidMessage:
        return
    assert record.to_value(read) == fields


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["Line", "Circle", "x"]) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=12,
)


@given(junk)
def test_any_value_is_refused_or_reads_as_itself(value):
    data = cbor.encode(value)
    for classes in (Line | Circle, Line, Empty):
        try:
            read = record.decode_tagged(classes, data, size_max=1 << 12)
        except InvalidMessage:
            continue
        assert record.encode_tagged(read) == data


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, bytes(31)),
        (0, bytes(33)),
        (0, "x" * 32),
        (0, None),
        (1, bytes(32)),
        (2, -1),
        (2, True),
        (2, None),
        (3, bytes(35)),
        (3, [bytes(32), 1]),
        (4, b"t"),
        (5, "t"),
        (6, 1),
        (7, None),
        (7, []),
        (7, [[1, 2], 3]),
        (7, ["Point", 1, 2]),
        (7, ["Circle", [1, 2]]),
        (7, ["Circle", [1, 2], 3, 4]),
        (7, ["Circle", [1, 2, 3], 3]),
        (7, [["Circle"], [1, 2], 3]),
        (7, [{}, [1, 2], 3]),
        (7, "Circle"),
        (8, [None]),
        (9, [None]),
        (9, {"Line": []}),
        (9, ["Line", [1, 2], None]),
        (10, [1]),
        (10, [1, "a", 2]),
        (10, ["a", 1]),
        (11, [bytes(31)]),
        (11, bytes(32)),
        (12, [[1, 2]]),
        (13, [1]),
        (13, []),
    ],
)
def test_a_field_of_the_wrong_shape_is_refused(place, value):
    fields = record.to_value(DRAWING)
    fields[place] = value
    with pytest.raises(InvalidMessage):
        record.decode(Drawing, cbor.encode(fields), size_max=1 << 10)


@pytest.mark.parametrize("change", [lambda f: f[:-1], lambda f: [*f, None], lambda f: [], lambda f: {"a": f}])
def test_a_field_too_few_or_too_many_is_refused(change):
    with pytest.raises(InvalidMessage):
        record.decode(Drawing, cbor.encode(change(record.to_value(DRAWING))), size_max=1 << 10)


@pytest.mark.parametrize("value", [["Empty"], ["Line"], "Line", [], None, [b"Line", [1, 2], None], 5])
def test_another_kind_of_record_is_refused(value):
    with pytest.raises(InvalidMessage):
        record.decode_tagged(Line | Circle, cbor.encode(value), size_max=1 << 10)


def test_a_tuple_too_long_is_refused():
    @dataclass(frozen=True, slots=True)
    class Numbers:
        items: tuple[int, ...]

    most = Numbers((0,) * record.TUPLE_LENGTH_MAX)
    assert record.decode(Numbers, record.encode(most), size_max=1 << 20) == most
    with pytest.raises(InvalidMessage):
        record.decode(Numbers, cbor.encode([[0] * (record.TUPLE_LENGTH_MAX + 1)]), size_max=1 << 20)
    with pytest.raises(AssertionError):
        record.encode(Numbers((0,) * (record.TUPLE_LENGTH_MAX + 1)))


def test_size_max_is_checked_first():
    data = record.encode(Point(1, 2))
    assert record.decode(Point, data, size_max=len(data)) == Point(1, 2)
    with pytest.raises(InvalidMessage):
        record.decode(Point, data, size_max=len(data) - 1)


@pytest.mark.parametrize(
    "broken",
    [
        Point(-1, 0),
        Point(2**64, 0),
        Point(x=True, y=0),
        Point(None, 0),
        Point(b"x", 0),
        Line(Circle(Point(0, 0), 1), None),
        Line(None, None),
        Line(Point(0, 0), Circle(Point(0, 0), 1)),
        Line(Point(0, 0), 5),
        jobs.Kept(jobs.ModelState(b"short", bytes(32), bytes(32)), bytes(32)),
        jobs.Evaluated((1, "x"), 5),
        jobs.Evaluated(7, 5),
        5,
        None,
    ],
)
def test_encoding_what_could_not_be_decoded_is_our_own_fault(broken):
    with pytest.raises(AssertionError):
        record.encode(broken)


def test_annotations_that_have_no_wire_form_are_our_own_fault():
    @dataclass(frozen=True, slots=True)
    class Ratio:
        value: float

    @dataclass(frozen=True, slots=True)
    class Ambiguous:
        value: int | str

    for item in (Ratio(0.5), Ambiguous(1)):
        with pytest.raises(AssertionError):
            record.encode(item)
        with pytest.raises(AssertionError):
            record.decode(type(item), cbor.encode([1]), size_max=10)


@pytest.mark.parametrize(
    "job",
    [
        jobs.Open("s", b"task", Hash32(bytes(32)), (BlobId(Hash32(bytes(32))),), None),
        jobs.Step("s", jobs.Position(1, 2, 9), 3, (jobs.PeerUpdate(9, b"map"),)),
        jobs.Keep("s"),
    ],
)
def test_jobs_travel_tagged(job):
    assert record.decode_tagged(jobs.Job, record.encode_tagged(job), size_max=1 << 10) == job

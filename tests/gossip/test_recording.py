"""A recording gives back what was written, however it is cut into pieces, and refuses anything else."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import BEGAN_US, ENTRIES, birth, head, written

from p2pai.gossip.recording import ENTRY_SIZE_MAX, Entry, Holds, Reading, What, begin, encode
from p2pai.gossip.sightings import Closed
from p2pai.primitives import cbor
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import PeerId

WHOLE = written()


def test_what_was_written_is_read():
    holds = (Holds.GOSSIP, Holds.INBOX)
    reading = Reading([written(holds=holds, birth=birth())])
    assert reading.head == head(holds=holds, birth=birth())
    assert tuple(reading) == ENTRIES
    assert reading.cut_bytes == 0


@given(st.lists(st.integers(0, len(WHOLE)), max_size=20))
def test_pieces_may_be_cut_anywhere(places):
    ends = [*sorted(places), len(WHOLE)]
    pieces = [WHOLE[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert tuple(Reading(pieces)) == ENTRIES


@given(st.integers(len(begin(head())), len(WHOLE)))
def test_a_cut_end_is_counted_and_the_rest_is_read(size):
    reading = Reading([WHOLE[:size]])
    found = tuple(reading)
    assert found == ENTRIES[: len(found)]
    assert reading.position + reading.cut_bytes == size
    assert (reading.cut_bytes == 0) == (written(ENTRIES[: len(found)]) == WHOLE[:size])


def test_entries_are_read_while_they_come():
    def pieces():
        yield begin(head())
        for entry in ENTRIES:
            given_out.append(entry)
            yield encode(entry)

    given_out = []
    for read in Reading(pieces()):
        assert read == given_out[-1]


def test_the_buffer_does_not_grow_with_the_recording():
    entry = encode(Entry(BEGAN_US, Closed(PeerId("x" * 200))))
    reading = Reading([begin(head()), *[entry * 10] * 500])
    held = max(len(reading._held) for _ in reading)
    assert held <= 11 * len(entry)


@pytest.mark.parametrize("data", [b"", b"abc", b"\x89PNG\r\n\x1a\n" + bytes(40), b"SQLite format 3\0" * 9])
def test_another_kind_of_file_is_named(data):
    with pytest.raises(InvalidMessage, match="this is no recording of p2pai"):
        Reading([data])


def test_another_format_is_named():
    body = cbor.encode(["Recording", 2, "anything"])
    with pytest.raises(InvalidMessage, match="format 2; this version reads format 1"):
        Reading([len(body).to_bytes(4, "big") + body])


def test_the_document_names_every_entry_with_its_fields():
    document = (Path(__file__).parents[2] / "docs" / "RECORDING.md").read_text()
    rows = [row for row in document.splitlines() if row.startswith("| `")]
    for what in get_args(What):
        (row,) = [row for row in rows if f"`{what.__name__}`" in row]
        assert row.count("|") == 4
    assert {type(entry.what) for entry in ENTRIES} == set(get_args(What))


def test_damage_is_refused_with_its_place():
    at = len(begin(head()))
    for damage in (b"\x00\x00\x00\x01\x17", (ENTRY_SIZE_MAX + 1).to_bytes(4, "big")):
        with pytest.raises(InvalidMessage, match=f"damaged at byte {at}"):
            tuple(Reading([begin(head()), damage]))

"""Target: what supervisors say and note comes back as it was, and fits what one message may hold."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.committee import (
    CertifiedSlot,
    HistoryStatement,
    MalformedStatement,
    PreparedStatement,
    Reason,
    SlotStatement,
    StatusStatement,
    ViewStatement,
)
from p2pai.chain.it_res import EndState
from p2pai.chain.params import SLOT_MESSAGES_MAX
from p2pai.chain.supervision import Equivocation
from p2pai.node import journal
from p2pai.primitives import blob, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import BlobId, Outpoint, TaskId
from p2pai.roles.history import ModelAnnouncement
from p2pai.roles.slots import (
    SAID_SIZE_MAX,
    Ballot,
    FinalModels,
    HistoryProposal,
    LockedSlot,
    NewView,
    Place,
    Prepared,
    Ranking,
    Report,
    Said,
    Share,
    SlotOpening,
    SlotProof,
    SlotProposal,
    SlotRecorded,
    SlotSigned,
    ViewChange,
    ViewShare,
    models_blob,
    read_models,
    task_of,
)
from tests.chain.ledger import label

TASK, TICKET = TaskId(label("task")), Outpoint(label("ticket"), 1)
SLOT = SlotStatement(TASK, 3, 0, 200, label("root"))
PLACE = Place(TASK, 3, 0, 200)
HISTORY = HistoryStatement(TASK, 0, 9, label("root"), None)
SIGNATURE, SIGNED = bytes(96), bytes(71)
END = EndState(*(BlobId(label(p)) for p in ("weights", "residual", "optimiser")), label("witness"))
MODEL = ModelAnnouncement(TASK, TICKET, 44, END, SIGNED)
IDS = tuple(label(i) for i in range(SLOT_MESSAGES_MAX))
MEMBERS = 16
RANKING = Ranking(2, bytes(range(256)), SIGNED)
PREPARED, PROOF = Prepared(SLOT, SIGNATURE), SlotProof(SLOT, SIGNATURE)
REPORT = Report(TASK, 3, 1, 200, PROOF, PREPARED, 2, SIGNED)
VIEW = ViewStatement(TASK, 3, 1, Reason.SILENT)

SAID = (
    SlotOpening(PLACE, (label("a"), label("b"))),
    Ballot(PLACE, label("root"), RANKING),
    SlotProposal(SLOT, (label("a"), label("b")), (RANKING,), SIGNED),
    SlotProposal(SLOT, (label("a"),), (), SIGNED),
    Share(SLOT, 1, SIGNATURE),
    Share(PreparedStatement(SLOT), 1, SIGNATURE),
    Share(HISTORY, 2, SIGNATURE),
    Share(MalformedStatement(TASK, 3), 2, SIGNATURE),
    Share(StatusStatement(TASK, TICKET, 3), 2, SIGNATURE),
    PREPARED,
    CertifiedSlot(SLOT, (label("a"),), SIGNATURE),
    ViewChange(REPORT, (ViewShare(Reason.SLOW, SIGNATURE),), (label("a"),)),
    ViewChange(replace(REPORT, lock=None, before=None), (ViewShare(Reason.SLOW, SIGNATURE),), ()),
    NewView(VIEW, SIGNATURE, (REPORT, REPORT), (label("a"),)),
    Equivocation(TASK, TICKET, SLOT, SIGNED, replace(SLOT, root=label("other")), SIGNED),
    HistoryProposal(HISTORY, ()),
    HistoryProposal(replace(HISTORY, models=models_blob((MODEL,))), (MODEL,)),
)
LARGEST = (
    SlotOpening(PLACE, IDS),
    SlotProposal(SLOT, IDS, (RANKING,) * MEMBERS, SIGNED),
    CertifiedSlot(SLOT, IDS, SIGNATURE),
    ViewChange(REPORT, tuple(ViewShare(reason, SIGNATURE) for reason in Reason), IDS),
    NewView(VIEW, SIGNATURE, (REPORT,) * MEMBERS, IDS),
)


@pytest.mark.parametrize("said", SAID, ids=lambda said: type(said).__name__)
def test_what_is_said_comes_back(said):
    data = record.encode_tagged(said)
    assert record.decode_tagged(Said, data, size_max=SAID_SIZE_MAX) == said
    with pytest.raises(InvalidMessage):
        record.decode_tagged(Said, data[:-1], size_max=SAID_SIZE_MAX)
    with pytest.raises(InvalidMessage):
        record.decode_tagged(Said, data + b"\0", size_max=SAID_SIZE_MAX)


@pytest.mark.parametrize(
    "entry",
    [
        SlotSigned(TASK, 3, 0, 200, None, None),
        SlotSigned(TASK, 3, 1, 200, LARGEST[1], LockedSlot(SLOT, IDS, SIGNATURE)),
        SlotRecorded(LARGEST[2], (b"last", b"")),
    ],
)
def test_what_is_noted_comes_back(entry):
    assert journal.read(journal.write(entry)) == entry


@pytest.mark.parametrize("said", SAID)
def test_all_know_their_task(said):
    assert task_of(said) == TASK


@pytest.mark.parametrize("said", LARGEST, ids=lambda said: type(said).__name__)
def test_a_full_slot_fits_one_message(said):
    assert len(record.encode_tagged(said)) <= SAID_SIZE_MAX // 3, "with room for a larger committee"


def test_the_models_of_the_largest_group_fit_one_message():
    miners = 256  # the most that chain/task.py allows
    models = tuple(replace(MODEL, iteration=2**32 - 1, signature=bytes(72)) for _ in range(miners))
    statement = replace(HISTORY, models=models_blob(models))
    assert len(record.encode_tagged(HistoryProposal(statement, models))) <= SAID_SIZE_MAX
    assert read_models(record.encode(FinalModels(models))) == models


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data):
    try:
        said = record.decode_tagged(Said, data, size_max=SAID_SIZE_MAX)
    except InvalidMessage:
        return
    assert record.encode_tagged(said) == data


class TestModels:
    def test_the_blob_of_models_is_read_again(self):
        models = (MODEL, replace(MODEL, ticket=Outpoint(label("ticket"), 2)))
        data = record.encode(FinalModels(models))
        assert blob.blob_id_of(data) == models_blob(models)
        assert read_models(data) == models

    def test_another_order_is_another_blob(self):
        models = (MODEL, replace(MODEL, ticket=Outpoint(label("ticket"), 2)))
        assert models_blob(models) != models_blob(models[::-1])

    @pytest.mark.parametrize("data", [b"", b"junk", bytes(SAID_SIZE_MAX + 1)])
    def test_what_is_no_list_of_models_is_refused(self, data):
        with pytest.raises(InvalidMessage):
            read_models(data)

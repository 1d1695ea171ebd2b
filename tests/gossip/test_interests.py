"""Under what a node is to be found, and whom it looks for, by the topics and the parts that it has."""

from p2pai.gossip.interests import FOLLOWERS_WANTED, FOUND_MAX, Interests
from p2pai.gossip.rendezvous import Meeting
from p2pai.gossip.topics import Topic
from p2pai.primitives.ids import Hash32, PeerId, TaskId

CHAIN = "0a1b2c3d"
TASK, OTHER = (TaskId(Hash32(bytes([n]) * 32)) for n in (1, 2))
FOLLOWED, LED = Meeting(CHAIN, TASK), Meeting(CHAIN, TASK, "supervisor")
REMOTES = [PeerId(f"remote {n}") for n in range(2 * FOUND_MAX)]


def topic(name="it_res", task=TASK, chain=CHAIN):
    return str(Topic(chain, task, name))


def following(*topics):
    interests = Interests(CHAIN)
    for name in topics or (topic(), topic("model")):
        interests.join(name)
    return interests


def nobody(name):
    return ()


def test_a_node_is_found_under_its_chain_and_each_task_that_it_follows():
    assert Interests(CHAIN).provided == (Meeting(CHAIN),)
    interests = following(topic(), topic("model"), topic(task=OTHER))
    assert interests.provided == (Meeting(CHAIN), FOLLOWED, Meeting(CHAIN, OTHER))


def test_topics_of_the_chain_of_others_and_of_nobody_change_nothing():
    interests = following(topic("tx", None), topic(chain="ffffffff"), "t")
    assert interests.provided == (Meeting(CHAIN),)
    assert interests.sought((), nobody) == ()
    assert interests.leave("t") == ()


def test_a_task_ends_with_its_last_topic_and_with_it_every_part():
    interests = following()
    interests.take_part(TASK, "supervisor")
    assert interests.provided[1:] == (FOLLOWED, LED)
    assert interests.leave(topic()) == ()
    assert interests.leave(topic("model")) == (FOLLOWED, LED)
    assert interests.provided == (Meeting(CHAIN),)
    assert interests.leave(topic("model")) == ()


def test_a_part_ends_once():
    interests = following()
    interests.take_part(TASK, "supervisor")
    assert interests.end_part(TASK, "supervisor") == (LED,)
    assert interests.end_part(TASK, "supervisor") == ()


def test_followers_are_sought_as_long_as_one_topic_has_too_few():
    interests = following()
    counts = {topic(): REMOTES[:FOLLOWERS_WANTED], topic("model"): REMOTES[: FOLLOWERS_WANTED - 1]}
    assert FOLLOWED in interests.sought((), counts.__getitem__)
    counts[topic("model")] = REMOTES[:FOLLOWERS_WANTED]
    assert FOLLOWED not in interests.sought((), counts.__getitem__)


def test_supervisors_are_sought_as_long_as_too_few_are_linked():
    interests = following()
    interests.note_found(LED, REMOTES[:3])
    assert LED in interests.sought(REMOTES[:1], nobody)
    assert LED not in interests.sought(REMOTES[:2], nobody)


def test_those_found_and_not_linked_are_missing():
    interests = following()
    interests.note_found(FOLLOWED, REMOTES[:3])
    interests.note_found(LED, REMOTES[2:5])
    assert set(interests.missing(REMOTES[1:3], nobody)) == {REMOTES[n] for n in (0, 3, 4)}
    interests.leave(topic())
    interests.leave(topic("model"))
    assert interests.missing((), nobody) == ()


def test_what_was_found_is_bounded_and_the_newest_counts():
    interests = following()
    interests.note_found(FOLLOWED, REMOTES[:FOUND_MAX])
    interests.note_found(FOLLOWED, REMOTES[FOUND_MAX : FOUND_MAX + 5])
    missing = interests.missing((), nobody)
    assert len(missing) == FOUND_MAX
    assert missing[:5] == tuple(REMOTES[FOUND_MAX : FOUND_MAX + 5])

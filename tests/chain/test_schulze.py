"""Targets: published examples come out, every order is the one the definition gives, ties are settled."""

from itertools import combinations, permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import schulze
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.hashing import tagged_hash


def label(*parts):
    return tagged_hash("p2pai/test", *(str(p).encode() for p in parts))


def candidates(count):
    """Candidates whose hashes rise as their positions do."""
    return [bytes([0, i]) + bytes(30) for i in range(count)]


def widths(count, ballots):
    """The widest paths by Floyd and Warshall, as the paper has it: the oracle."""
    places = [{c: place for place, c in enumerate(ballot)} for ballot in ballots]
    wins = [[sum(p[a] < p[b] for p in places) for b in range(count)] for a in range(count)]
    path = [[wins[a][b] if wins[a][b] > wins[b][a] else 0 for b in range(count)] for a in range(count)]
    for i in range(count):
        for a in range(count):
            for b in range(count):
                if len({i, a, b}) == 3:
                    path[a][b] = max(path[a][b], min(path[a][i], path[i][b]))
    return path


def slow_rank(hashes, ballots):
    path = widths(len(hashes), ballots)
    remaining, order = set(range(len(hashes))), []
    while remaining:
        free = [c for c in remaining if all(path[o][c] <= path[c][o] for o in remaining)]
        order.append(min(free, key=lambda c: hashes[c]))
        remaining.remove(order[-1])
    return tuple(hashes[c] for c in order)


def elect(text, names):
    """Rank letters by lines such as `5 ACBED`."""
    ballots = [
        [names.index(letter) for letter in order]
        for count, order in (line.split() for line in text.strip().splitlines())
        for _ in range(int(count))
    ]
    hashes = candidates(len(names))
    found = schulze.rank(hashes, ballots)
    assert found == slow_rank(hashes, ballots)
    return "".join(names[hashes.index(h)] for h in found)


@st.composite
def elections(draw, size=8, voters=9):
    count = draw(st.integers(1, size))
    hashes = draw(st.permutations([label("candidate", i) for i in range(count)]))
    ballots = draw(st.lists(st.permutations(range(count)), min_size=0, max_size=voters))
    return hashes, ballots


@st.composite
def close_elections(draw):
    """Ballots that differ by a few exchanges of neighbours, as those of one gossip mesh do."""
    count = draw(st.integers(2, 12))
    ballots = []
    for _ in range(draw(st.integers(1, 7))):
        ballot = list(range(count))
        for place in draw(st.lists(st.integers(0, count - 2), max_size=4)):
            ballot[place : place + 2] = reversed(ballot[place : place + 2])
        ballots.append(ballot)
    return draw(st.permutations([label("candidate", i) for i in range(count)])), ballots


class TestPublishedExamples:
    def test_45_voters(self):
        ballots = "5 ACBED\n5 ADECB\n8 BEDAC\n3 CABED\n7 CAEBD\n2 CBADE\n7 DCEBA\n8 EBADC"
        assert elect(ballots, "ABCDE") == "EACBD"

    def test_schulze_example_1(self):
        assert elect("8 ACDB\n2 BADC\n4 CDBA\n4 DBAC\n3 DCBA", "ABCD") == "DACB"

    def test_schulze_example_2(self):
        ballots = "5 ACBD\n2 ACDB\n3 ADCB\n4 BACD\n3 CBDA\n3 CDBA\n1 DACB\n5 DBAC\n4 DCBA"
        assert elect(ballots, "ABCD") == "DACB"

    def test_schulze_example_4_has_two_winners(self):
        # b and d are tied for the first place, so the lower hash comes first.
        ballots = "3 ABCD\n2 DABC\n2 DBCA\n2 CBDA"
        assert elect(ballots, "ABCD")[0] == "B"
        assert elect(ballots, "ADCB")[0] == "D"

    def test_a_capital_for_tennessee(self):
        # 42, 26, 15 and 17 in a hundred; in fiftieths every majority is the same.
        assert elect("21 MNCK\n13 NCKM\n7 CKNM\n9 KCNM", "MNCK") == "NCKM"

    def test_condorcets_circle_is_a_tie(self):
        assert elect("1 ABC\n1 BCA\n1 CAB", "ABC") == "ABC"
        assert elect("1 ABC\n1 BCA\n1 CAB", "CAB") == "CAB"

    def test_a_clone_does_not_change_who_wins(self):
        assert elect("3 ABC\n2 BCA\n2 CAB", "ABC")[0] == "A"
        assert elect("3 ABXC\n2 BXCA\n2 CAXB", "ABCX")[0] == "A"


class TestRank:
    @given(elections())
    def test_it_is_what_floyd_and_warshall_give(self, election):
        assert schulze.rank(*election) == slow_rank(*election)

    @given(close_elections())
    def test_it_is_so_too_where_ballots_are_close(self, election):
        assert schulze.rank(*election) == slow_rank(*election)

    def test_it_is_so_for_many_candidates(self):
        random = Random(1)
        hashes = [label("candidate", i) for i in range(40)]
        for count in (3, 10, 31):
            ballots = [random.sample(range(40), 40) for _ in range(count)]
            assert schulze.rank(hashes, ballots) == slow_rank(hashes, ballots)

    @given(elections(size=4, voters=6))
    def test_everybody_beaten_stands_behind(self, election):
        hashes, ballots = election
        path = widths(len(hashes), ballots)
        place = {h: i for i, h in enumerate(schulze.rank(hashes, ballots))}
        for a, b in permutations(range(len(hashes)), 2):
            assert path[a][b] <= path[b][a] or place[hashes[a]] < place[hashes[b]]

    @given(elections())
    def test_what_all_agree_on_holds(self, election):
        hashes, ballots = election
        order = schulze.rank(hashes, ballots)
        for a, b in permutations(range(len(hashes)), 2):
            if ballots and all(ballot.index(a) < ballot.index(b) for ballot in ballots):
                assert order.index(hashes[a]) < order.index(hashes[b])

    @given(elections())
    def test_who_wins_every_pair_comes_first(self, election):
        hashes, ballots = election
        for a in range(len(hashes)):
            wins = (
                2 * sum(ballot.index(a) < ballot.index(b) for ballot in ballots) > len(ballots)
                for b in range(len(hashes))
                if b != a
            )
            if all(wins):
                assert schulze.rank(hashes, ballots)[0] == hashes[a]

    @given(elections(), st.randoms(use_true_random=False))
    def test_neither_the_ballots_nor_the_candidates_order_matters(self, election, random):
        hashes, ballots = election
        found = schulze.rank(hashes, ballots)
        assert sorted(found) == sorted(hashes)
        assert schulze.rank(hashes, random.sample(ballots, len(ballots))) == found
        moved = random.sample(range(len(hashes)), len(hashes))
        renamed = [[moved.index(position) for position in ballot] for ballot in ballots]
        assert schulze.rank([hashes[m] for m in moved], renamed) == found

    def test_without_ballots_hashes_decide(self):
        hashes = [label("candidate", i) for i in range(5)]
        assert schulze.rank(hashes, []) == tuple(sorted(hashes))
        assert schulze.rank([], []) == ()

    def test_one_ballot_is_the_order(self):
        hashes = [label("candidate", i) for i in range(256)]
        ballot = Random(2).sample(range(256), 256)
        assert schulze.rank(hashes, [ballot]) == tuple(hashes[i] for i in ballot)

    def test_few_liars_do_not_move_a_pair(self):
        # Ten of thirty-one turn everything round.
        hashes = [label("candidate", i) for i in range(64)]
        honest = list(range(64))
        assert schulze.rank(hashes, [honest] * 21 + [honest[::-1]] * 10) == tuple(hashes)


class TestMalformed:
    @pytest.mark.parametrize("ballot", [[0, 1], [0, 1, 2, 3], [0, 1, 1], [0, 1, 3], [-1, 0, 1]])
    def test_a_ballot_must_rank_everybody_once(self, ballot):
        with pytest.raises(InvalidMessage):
            schulze.check_ballot(ballot, 3)

    def test_a_permutation_is_a_ballot(self):
        for ballot in permutations(range(3)):
            schulze.check_ballot(ballot, 3)

    def test_two_equal_candidates_are_our_own_fault(self):
        for a, b in combinations(range(3), 2):
            hashes = [label(i) for i in range(3)]
            hashes[a] = hashes[b]
            with pytest.raises(AssertionError):
                schulze.rank(hashes, [[0, 1, 2]])

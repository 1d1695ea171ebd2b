"""Key generation with honest members and with every liar: one key, or one culprit that everyone can name."""

from dataclasses import replace
from functools import cache
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.chain import dkg
from p2pai.chain.dkg import Accusation, Deal
from p2pai.chain.params import quorum
from p2pai.primitives import bls, ed25519, record, sealing
from p2pai.primitives import dkg as scalars
from p2pai.primitives.errors import InvalidMessage, InvalidProof
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.keys import BLS_ORDER
from p2pai.vrf import ecvrf

MESSAGE = b"message"
INFINITY = bytes([0xC0]) + bytes(47)


def context(dealer, occasion=b"first"):
    return tagged_hash("test/context", occasion, dealer.to_bytes(4, "big"))


def secrets(members, label=b"old"):
    return [tagged_hash("test/secret", label, i.to_bytes(4, "big")) for i in range(1, members + 1)]


def keys(own):
    return [ecvrf.public_key(secret) for secret in own]


def seed(dealer):
    return tagged_hash("test/seed", dealer.to_bytes(4, "big"))


@cache
def generate(members):
    """Play a whole key generation; return the key, the public shares and the secret ones by index."""
    own, threshold = secrets(members), quorum(members)
    places = range(1, members + 1)
    deals = {i: dkg.make_deal(seed(i), context(i), keys(own), threshold) for i in places}
    for i in places:
        dkg.check_deal(deals[i], context(i), keys(own), threshold)
    shares = {m: dkg.combine_share(opened(deals, own, m), renewed=False) for m in places}
    return *dkg.public_keys(deals, members, renewed=False), shares


def opened(deals, own, member, occasion=b"first"):
    found = {i: dkg.open_share(deals[i], context(i, occasion), own[member - 1], member) for i in deals}
    assert None not in found.values()
    return found


def signed(shares, chosen):
    return scalars.combine_signatures({i: bls.sign(shares[i], MESSAGE) for i in chosen})


def interpolated(shares, chosen):
    weights = scalars.lagrange(chosen)
    total = sum(weights[i] * int.from_bytes(shares[i], "big") for i in chosen)
    return (total % BLS_ORDER).to_bytes(32, "big")


@pytest.mark.parametrize("members", [3, 4, 7])
class TestGeneration:
    def test_public_shares_are_those_of_the_secret_ones(self, members):
        _, public, shares = generate(members)
        assert public == tuple(bls.public_key(shares[i]) for i in range(1, members + 1))
        for i, key in enumerate(public, 1):
            bls.verify(key, MESSAGE, bls.sign(shares[i], MESSAGE))

    def test_any_t_members_give_one_signature(self, members):
        key, _, shares = generate(members)
        subsets = list(combinations(shares, quorum(members)))
        (signature,) = {signed(shares, chosen) for chosen in subsets}
        bls.verify(key, MESSAGE, signature)
        assert signed(shares, shares) == signature

    def test_fewer_than_t_do_not_sign(self, members):
        key, _, shares = generate(members)
        for chosen in combinations(shares, quorum(members) - 1):
            with pytest.raises(InvalidProof):
                bls.verify(key, MESSAGE, signed(shares, chosen))

    def test_the_signature_is_that_of_the_secret_nobody_has(self, members):
        key, _, shares = generate(members)
        chosen = list(shares)[-quorum(members) :]
        secret = interpolated(shares, chosen)
        assert bls.public_key(secret) == key
        assert signed(shares, chosen) == bls.sign(secret, MESSAGE)


OWN = secrets(4)
KEYS = keys(OWN)
CONTEXT = context(1)
THRESHOLD = 3
DEAL = dkg.make_deal(seed(1), CONTEXT, KEYS, THRESHOLD)


def sealed_anew(deal, **changes):
    """Change a deal as its dealer can, who knows the ephemeral secret and proves so over the new digest."""
    changed = replace(deal, **changes)
    terms = (CONTEXT, THRESHOLD.to_bytes(4, "big"), b"", *KEYS)
    ephemeral = tagged_hash("p2pai/dkg/ephemeral", seed(1), *terms)
    assert ed25519.public_key(ephemeral) == DEAL.point
    return replace(changed, knowledge=ecvrf.prove(ephemeral, dkg.digest(changed, CONTEXT)))


def check(deal, *, constant_key=None, receivers=KEYS, threshold=THRESHOLD, where=CONTEXT):
    dkg.check_deal(deal, where, receivers, threshold, constant_key)


def test_dealers_that_do_not_count_are_left_out():
    deals = {i: dkg.make_deal(seed(i), context(i), KEYS, THRESHOLD) for i in (1, 2, 4)}
    key, public = dkg.public_keys(deals, 4, renewed=False)
    shares = {m: dkg.combine_share(opened(deals, OWN, m), renewed=False) for m in range(1, 5)}
    assert public == tuple(bls.public_key(share) for share in shares.values())
    bls.verify(key, MESSAGE, signed(shares, (2, 3, 4)))
    assert key != dkg.public_keys({i: deals[i] for i in (1, 2)}, 4, renewed=False)[0]


def test_the_order_of_deals_does_not_matter():
    deals = {i: dkg.make_deal(seed(i), context(i), KEYS, THRESHOLD) for i in (1, 2, 4)}
    backwards = dict(reversed(deals.items()))
    for renewed in (False, True):
        assert dkg.public_keys(deals, 4, renewed=renewed) == dkg.public_keys(backwards, 4, renewed=renewed)


def test_a_committee_of_one():
    deal = dkg.make_deal(seed(1), CONTEXT, KEYS[:1], 1)
    check(deal, receivers=KEYS[:1], threshold=1)
    share = dkg.combine_share({1: dkg.open_share(deal, CONTEXT, OWN[0], 1)}, renewed=False)
    key, public = dkg.public_keys({1: deal}, 1, renewed=False)
    assert bls.public_key(share) == key == public[0]


@given(st.integers(1, 6), st.data())
@settings(max_examples=15, deadline=None)
def test_generation_of_any_size(members, data):
    threshold = data.draw(st.integers(1, members))
    dealers = data.draw(st.sets(st.integers(1, members), min_size=1))
    own = secrets(members)
    deals = {i: dkg.make_deal(seed(i), context(i), keys(own), threshold) for i in dealers}
    for i in dealers:
        dkg.check_deal(deals[i], context(i), keys(own), threshold)
    key, _ = dkg.public_keys(deals, members, renewed=False)
    shares = {m: dkg.combine_share(opened(deals, own, m), renewed=False) for m in range(1, members + 1)}
    chosen = data.draw(st.permutations(list(shares)))[:threshold]
    bls.verify(key, MESSAGE, signed(shares, chosen))


class TestDeal:
    def test_it_is_always_the_same(self):
        assert dkg.make_deal(seed(1), CONTEXT, KEYS, THRESHOLD) == DEAL

    def test_one_seed_gives_other_secrets_on_other_occasions(self):
        others = [
            dkg.make_deal(seed(2), CONTEXT, KEYS, THRESHOLD),
            dkg.make_deal(seed(1), context(2), KEYS, THRESHOLD),
            dkg.make_deal(seed(1), CONTEXT, KEYS[::-1], THRESHOLD),
            dkg.make_deal(seed(1), CONTEXT, KEYS, 2),
            dkg.make_deal(seed(1), CONTEXT, KEYS, THRESHOLD, bytes(31) + b"\x05"),
        ]
        for other in others:
            assert other.point != DEAL.point
            assert not {*other.commitments} & {*DEAL.commitments}
            assert not {*other.shares} & {*DEAL.shares}

    def test_it_comes_back_from_its_bytes(self):
        data = record.encode(DEAL)
        assert record.decode(Deal, data, size_max=len(data)) == DEAL
        accusation = Accusation(b"\x01" * 32, b"\x02" * 48)
        data = record.encode(accusation)
        assert record.decode(Accusation, data, size_max=len(data)) == accusation

    def test_its_digest_covers_all_but_the_proof_of_knowledge(self):
        changes = [
            {"commitments": DEAL.commitments[::-1]},
            {"possession": bls.prove_possession(bytes(31) + b"\x01")},
            {"point": KEYS[0]},
            {"shares": DEAL.shares[::-1]},
        ]
        digests = {dkg.digest(replace(DEAL, **change), CONTEXT) for change in changes}
        digests |= {dkg.digest(DEAL, CONTEXT), dkg.digest(DEAL, context(2))}
        assert len(digests) == len(changes) + 2
        assert dkg.digest(replace(DEAL, knowledge=b""), CONTEXT) == dkg.digest(DEAL, CONTEXT)

    def test_only_the_receiver_opens_its_share(self):
        for member in range(1, 5):
            assert dkg.open_share(DEAL, CONTEXT, OWN[member - 1], member) is not None
            assert dkg.open_share(DEAL, CONTEXT, OWN[member % 4], member) is None
        assert dkg.open_share(DEAL, context(2), OWN[0], 1) is None

    def test_too_few_members_are_our_own_fault(self):
        for threshold in (0, 5):
            with pytest.raises(AssertionError):
                dkg.make_deal(seed(1), CONTEXT, KEYS, threshold)


class TestBadDeals:
    def test_a_right_one_passes(self):
        check(DEAL)
        check(sealed_anew(DEAL, shares=DEAL.shares[::-1]))

    def test_wrong_counts(self):
        with pytest.raises(InvalidMessage, match="3 commitments, not 2"):
            check(sealed_anew(DEAL, commitments=DEAL.commitments[:2]))
        with pytest.raises(InvalidMessage, match="3 commitments, not 0"):
            check(sealed_anew(DEAL, commitments=()))
        with pytest.raises(InvalidMessage, match="4 shares, not 5"):
            check(sealed_anew(DEAL, shares=(*DEAL.shares, DEAL.shares[0])))
        with pytest.raises(InvalidMessage, match="commitments"):
            check(DEAL, threshold=2)
        with pytest.raises(InvalidMessage, match="shares"):
            check(DEAL, receivers=KEYS[:3])

    @pytest.mark.parametrize("place", range(THRESHOLD))
    @pytest.mark.parametrize("bad", [INFINITY, bytes(48), b"\xff" * 48])
    def test_bad_commitments(self, place, bad):
        commitments = list(DEAL.commitments)
        commitments[place] = bad
        with pytest.raises(InvalidProof, match="public key"):
            check(sealed_anew(DEAL, commitments=tuple(commitments)))

    def test_bad_possession(self):
        # The rogue key: all others' constants taken off the dealer's own.
        for possession in (bls.prove_possession(bytes(31) + b"\x01"), bytes(96), INFINITY + bytes(48)):
            with pytest.raises(InvalidProof):
                check(sealed_anew(DEAL, possession=possession))
        with pytest.raises(InvalidProof, match="possession"):
            check(sealed_anew(DEAL, commitments=(DEAL.commitments[1], *DEAL.commitments[1:])))

    @pytest.mark.parametrize("place", [0, 31, 32, 47, 48, 79])
    def test_bad_knowledge(self, place):
        changed = bytearray(DEAL.knowledge)
        changed[place] ^= 1
        with pytest.raises(InvalidProof):
            check(replace(DEAL, knowledge=bytes(changed)))
        with pytest.raises(InvalidProof, match="bytes"):
            check(replace(DEAL, knowledge=DEAL.knowledge[:-1]))

    def test_knowledge_is_of_this_deal_in_this_context(self):
        with pytest.raises(InvalidProof, match="does not hold"):
            check(DEAL, where=context(2))
        with pytest.raises(InvalidProof, match="does not hold"):
            check(replace(DEAL, shares=DEAL.shares[::-1]))

    def test_another_dealers_point_cannot_be_borrowed(self):
        # Or an accusation would reveal the point that the victim shares with the other dealer.
        mine = dkg.make_deal(seed(2), context(2), KEYS, THRESHOLD)
        borrowed = replace(mine, point=DEAL.point)
        for knowledge in (mine.knowledge, DEAL.knowledge):
            with pytest.raises(InvalidProof, match="does not hold"):
                check(replace(borrowed, knowledge=knowledge), where=context(2))

    def test_the_point_of_a_draw_cannot_be_asked_for(self):
        point = ecvrf._hash_to_curve(KEYS[0], b"a draw's input")
        with pytest.raises(InvalidProof, match="does not hold"):
            check(replace(DEAL, point=point))

    @pytest.mark.parametrize(
        "point", [ed25519.IDENTITY, bytes(32), b"\xff" * 32, ed25519.add(KEYS[0], bytes(32))]
    )
    def test_bad_point(self, point):
        with pytest.raises(InvalidProof, match="not a point"):
            check(replace(DEAL, point=point))

    def test_another_constant_than_the_dealers_share(self):
        share = bytes(31) + b"\x05"
        right = dkg.make_deal(seed(1), CONTEXT, KEYS, THRESHOLD, share)
        check(right, constant_key=bls.public_key(share))
        check(DEAL, constant_key=DEAL.commitments[0])
        with pytest.raises(InvalidProof, match="not the dealer's share"):
            check(DEAL, constant_key=bls.public_key(share))
        with pytest.raises(InvalidProof, match="not the dealer's share"):
            check(right, constant_key=bls.public_key(bytes(31) + b"\x06"))


WRONG = sealed_anew(DEAL, shares=(DEAL.shares[0], bytes(32), *DEAL.shares[2:]))
"""A deal that passes every check of everyone, with a wrong share for member 2."""
ACCUSATION = dkg.accuse(WRONG, CONTEXT, OWN[1], 2)


def is_guilty(deal=WRONG, receiver=KEYS[1], index=2, accusation=ACCUSATION, where=CONTEXT):
    return dkg.is_guilty(deal, where, receiver, index, accusation)


def accusation_of(member, deal=DEAL):
    """Accuse whether it is true or not, as a liar does."""
    revealed = sealing.reveal(OWN[member - 1], deal.point, CONTEXT)
    return Accusation(revealed.shared, revealed.proof)


class TestAccusations:
    def test_a_wrong_share_is_proven(self):
        check(WRONG)
        assert dkg.open_share(WRONG, CONTEXT, OWN[1], 2) is None
        assert dkg.open_share(WRONG, CONTEXT, OWN[0], 1) is not None
        assert is_guilty()

    def test_shares_in_each_others_places_are_wrong(self):
        swapped = sealed_anew(DEAL, shares=DEAL.shares[::-1])
        for member in range(1, 5):
            accusation = dkg.accuse(swapped, CONTEXT, OWN[member - 1], member)
            assert is_guilty(swapped, KEYS[member - 1], member, accusation)

    def test_a_share_of_zero_is_wrong_even_if_committed_to(self):
        # f(x) = 2 - x, dealt by hand.
        ephemeral, coefficients = seed(9), (2, BLS_ORDER - 1)
        shares = [
            sealing.seal(ephemeral, KEYS[i], CONTEXT, i + 1, scalars.share(coefficients, i + 1))
            for i in range(4)
        ]
        deal = Deal(
            scalars.commitments(coefficients),
            bls.prove_possession(bytes(31) + b"\x02"),
            ed25519.public_key(ephemeral),
            b"",
            tuple(shares),
        )
        deal = replace(deal, knowledge=ecvrf.prove(ephemeral, dkg.digest(deal, CONTEXT)))
        check(deal, threshold=2)
        assert dkg.open_share(deal, CONTEXT, OWN[0], 1) is not None
        assert is_guilty(deal, accusation=dkg.accuse(deal, CONTEXT, OWN[1], 2))

    def test_a_false_accuser_is_found_out(self):
        for member in range(1, 5):
            assert not is_guilty(DEAL, KEYS[member - 1], member, accusation_of(member))
        assert not is_guilty(WRONG, KEYS[0], 1, accusation_of(1, WRONG))

    def test_an_honest_member_never_accuses_falsely(self):
        with pytest.raises(AssertionError, match="fits"):
            dkg.accuse(DEAL, CONTEXT, OWN[0], 1)

    @pytest.mark.parametrize("place", range(48))
    def test_a_changed_proof_proves_nothing(self, place):
        changed = bytearray(ACCUSATION.proof)
        changed[place] ^= 1
        with pytest.raises(InvalidProof):
            is_guilty(accusation=replace(ACCUSATION, proof=bytes(changed)))

    @pytest.mark.parametrize("shared", [b"", bytes(32), ed25519.IDENTITY, KEYS[0], ACCUSATION.shared[:-1]])
    def test_another_shared_point_proves_nothing(self, shared):
        with pytest.raises(InvalidProof):
            is_guilty(accusation=replace(ACCUSATION, shared=shared))

    def test_nobody_accuses_in_anothers_name(self):
        with pytest.raises(InvalidProof, match="does not hold"):
            is_guilty(accusation=accusation_of(1))
        with pytest.raises(InvalidProof, match="does not hold"):
            is_guilty(receiver=KEYS[0], index=1)
        with pytest.raises(InvalidProof, match="does not hold"):
            is_guilty(where=context(2))

    def test_an_accusation_comes_back_from_its_bytes(self):
        data = record.encode(ACCUSATION)
        assert is_guilty(accusation=record.decode(Accusation, data, size_max=200))

    def test_a_place_that_is_none_is_our_own_fault(self):
        for index in (0, 5):
            with pytest.raises(AssertionError):
                is_guilty(index=index)

    @given(st.binary(min_size=32, max_size=32))
    @settings(max_examples=25, deadline=None)
    def test_whatever_is_sealed_is_judged(self, sealed):
        deal = replace(WRONG, shares=(WRONG.shares[0], sealed, *WRONG.shares[2:]))
        assert is_guilty(deal) == (sealed != DEAL.shares[1])


class TestResharing:
    NEW = secrets(5, b"new")
    DEALERS = (1, 3, 4)

    @classmethod
    @cache
    def reshared(cls, dealers=DEALERS):
        _, public, old = generate(4)
        receivers = keys(cls.NEW)
        deals = {}
        for i in dealers:
            where = context(i, b"second")
            deals[i] = dkg.make_deal(seed(i), where, receivers, 4, old[i])
            dkg.check_deal(deals[i], where, receivers, 4, public[i - 1])
        shares = {
            m: dkg.combine_share(opened(deals, cls.NEW, m, b"second"), renewed=True) for m in range(1, 6)
        }
        return *dkg.public_keys(deals, 5, renewed=True), shares

    @pytest.mark.parametrize("dealers", [*combinations(range(1, 5), 3), (1, 2, 3, 4)])
    def test_the_key_stays_whoever_deals(self, dealers):
        key, _, old = generate(4)
        renewed, public, shares = self.reshared(dealers)
        assert renewed == key
        assert public == tuple(bls.public_key(share) for share in shares.values())
        assert signed(shares, (1, 2, 4, 5)) == signed(old, (1, 2, 3))

    def test_any_t_new_members_sign_and_fewer_do_not(self):
        key, _, shares = self.reshared()
        (signature,) = {signed(shares, chosen) for chosen in combinations(shares, 4)}
        bls.verify(key, MESSAGE, signature)
        for chosen in combinations(shares, 3):
            with pytest.raises(InvalidProof):
                bls.verify(key, MESSAGE, signed(shares, chosen))

    def test_old_and_new_shares_do_not_mix(self):
        key, _, old = generate(4)
        _, _, new = self.reshared()
        for count in (1, 2, 3):
            mixed = {i: old[i] if i <= count else new[i] for i in range(1, 5)}
            for chosen in (*combinations(mixed, 3), tuple(mixed)):
                if all(i <= count for i in chosen):
                    continue  # old members alone are no mixture
                with pytest.raises(InvalidProof):
                    bls.verify(key, MESSAGE, signed(mixed, chosen))

    def test_fewer_dealers_than_the_old_threshold_do_not_keep_the_key(self):
        key, _, _ = generate(4)
        assert self.reshared((1, 2))[0] != key

    def test_a_resharing_is_not_summed_like_a_fresh_deal(self):
        key, _, old = generate(4)
        deals = {i: dkg.make_deal(seed(i), context(i), keys(self.NEW), 4, old[i]) for i in self.DEALERS}
        assert dkg.public_keys(deals, 5, renewed=True)[0] == key
        assert dkg.public_keys(deals, 5, renewed=False)[0] != key


def test_the_last_dealer_can_spoil_its_own_share_alone():
    # Member 2 sees what the others dealt it, and deals so that its sum is zero.
    others = {i: dkg.make_deal(seed(i), context(i), KEYS, THRESHOLD) for i in (1, 3)}
    received = sum(int.from_bytes(share, "big") for share in opened(others, OWN, 2).values())
    coefficients = (5, 7, (-received - 5 - 14) * pow(4, -1, BLS_ORDER) % BLS_ORDER)
    deals = {**others, 2: replace(DEAL, commitments=scalars.commitments(coefficients))}
    key, public = dkg.public_keys(deals, 4, renewed=False)
    assert public[1] == INFINITY
    with pytest.raises(InvalidProof, match="infinity"):
        bls.verify(public[1], MESSAGE, INFINITY + bytes(48))
    for i in (0, 2, 3):
        bls.check_key(public[i])
    bls.check_key(key)


def test_dealers_that_plot_a_key_of_zero_get_none():
    ones = [scalars.commitments((constant, 1)) for constant in (3, BLS_ORDER - 3)]
    deals = {i: replace(DEAL, commitments=each) for i, each in enumerate(ones, 1)}
    with pytest.raises(InvalidProof, match="infinity"):
        dkg.public_keys(deals, 4, renewed=False)

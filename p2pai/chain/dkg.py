"""Distributed key generation: the supervisors' common key, of which nobody has more than a share.

Theory of operation (ETHDKG: Joint-Feldman with one public message a dealer). Each member deals a fresh
secret: commitments to a polynomial, and a share of it for each member, sealed to the key of the member's
ticket. All of a deal but the shares is checked by everyone. A member whose share does not fit the commitments
accuses the dealer: it reveals the point that it shares with the dealer, with a proof, and everyone opens the
share and sees who lied. The committee's key is the sum of the secrets dealt by those not found guilty; each
member's share of it is the sum of its shares. Any t members sign, and their signatures combine to the one of
the committee's key.

When the members change, the old ones deal their shares of the key in the same way (resharing); the first
commitment is then the dealer's public share, so nobody can deal anything else, and the key stays.

Why a deal carries proofs. Possession of the constant: or the last dealer could choose its constant so that it
alone knows the sum. Knowledge of the ephemeral point's secret, bound to the deal and its context: or a dealer
could put there the point that a draw's input hashes to, and an accusation would tell it the receiver's draw
(and pay for it with its stake alone); or another dealer's point, and an accusation would open that one's
shares.

A context is one dealer's part in one key generation: nobody else's deal, and no older one, passes under it.

A dealer that waits for the others' deals can choose among a few keys. A threshold BLS signature is as hard to
forge all the same: Gurkan et al., ePrint 2021/005.

Source: ETHDKG, ePrint 2019/985; PoUW §4.2.1 and Appendix C; PROTOCOL section 6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from p2pai.primitives import bls, dkg, ed25519, record, sealing
from p2pai.primitives.errors import InvalidMessage, InvalidProof
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlsPublicKey, BlsSignature, Hash32, VrfPublicKey
from p2pai.vrf import ecvrf


@dataclass(frozen=True, slots=True)
class Deal:
    """What a dealer publishes."""

    commitments: tuple[BlsPublicKey, ...]
    """To the polynomial's t coefficients, the constant first."""
    possession: BlsSignature
    """Proves that the dealer knows the constant."""
    point: VrfPublicKey
    """Ephemeral Ed25519 point that the shares are sealed with."""
    knowledge: bytes
    """Proves that the dealer knows the secret of `point`: a draw's proof under it, over the deal's digest."""
    shares: tuple[Hash32, ...]
    """One sealed share for each member, in order."""


@dataclass(frozen=True, slots=True)
class Accusation:
    """What a member publishes whose share does not fit; it opens this one share to everyone."""

    shared: bytes
    """The point that the member shares with the dealer."""
    proof: bytes
    """That it is this point."""


def digest(deal: Deal, context: Hash32) -> Hash32:
    """Return the hash of a deal in its context; of all but the proof of knowledge, which is made over it."""
    return tagged_hash("p2pai/dkg/deal", context, record.encode(replace(deal, knowledge=b"")))


def make_deal(
    seed: bytes,
    context: Hash32,
    receivers: Sequence[VrfPublicKey],
    threshold: int,
    constant: bytes | None = None,
) -> Deal:
    """Deal a secret.

    Args:
      seed: 32 secret bytes; whatever else the arguments are, other ones give other secrets.
      context: names this dealer's part in this key generation.
      receivers: the members' VRF keys in order.
      threshold: how many members can sign.
      constant: the share to deal when resharing, 32 bytes; left out, the secret is a fresh one.

    Returns:
      The deal, always the same for the same arguments.

    Raises:
      InvalidProof: a receiver's key is not a point of the prime-order subgroup.
    """
    assert 1 <= threshold <= len(receivers), "more members needed than there are"
    terms = (context, threshold.to_bytes(4, "big"), constant or b"", *receivers)
    coefficients = dkg.polynomial(tagged_hash("p2pai/dkg/polynomial", seed, *terms), threshold, constant)
    ephemeral = tagged_hash("p2pai/dkg/ephemeral", seed, *terms)
    sealed = (
        sealing.seal(ephemeral, key, context, index, dkg.share(coefficients, index))
        for index, key in enumerate(receivers, 1)
    )
    deal = Deal(
        commitments=dkg.commitments(coefficients),
        possession=bls.prove_possession(dkg.secret(coefficients)),
        point=ed25519.public_key(ephemeral),
        knowledge=b"",
        shares=tuple(sealed),
    )
    return replace(deal, knowledge=ecvrf.prove(ephemeral, digest(deal, context)))


def check_deal(
    deal: Deal,
    context: Hash32,
    receivers: Sequence[VrfPublicKey],
    threshold: int,
    constant_key: BlsPublicKey | None = None,
) -> None:
    """Check what everyone can check of a deal; whether a share fits, its receiver alone can see.

    Args:
      deal: what the dealer published, decoded, so that sizes are right.
      context: names this dealer's part in this key generation.
      receivers: the members' VRF keys in order.
      threshold: how many members can sign.
      constant_key: the dealer's public share when resharing.

    Raises:
      InvalidMessage: another number of commitments or of shares.
      InvalidProof: malformed points, another constant than the dealer's share, or a proof that does not hold.
    """
    if len(deal.commitments) != threshold:
        raise InvalidMessage(f"a deal has {threshold} commitments, not {len(deal.commitments)}")
    if len(deal.shares) != len(receivers):
        raise InvalidMessage(f"a deal has {len(receivers)} shares, not {len(deal.shares)}")
    constant = deal.commitments[0]
    if constant_key not in (None, constant):
        raise InvalidProof("what is dealt is not the dealer's share")
    ecvrf.verify(deal.point, digest(deal, context), deal.knowledge)
    for commitment in deal.commitments:
        bls.check_key(commitment)
    bls.verify_possession(constant, deal.possession)


def open_share(deal: Deal, context: Hash32, secret: bytes, index: int) -> bytes | None:
    """Open a member's own share of a deal that passed `check_deal`.

    Args:
      deal: what the dealer published.
      context: names this dealer's part in this key generation.
      secret: the member's VRF key.
      index: the member's place, from 1.

    Returns:
      The share, 32 bytes; None if it does not fit the commitments, a case for `accuse`.
    """
    share = sealing.open_sealed(secret, deal.point, context, index, _sealed(deal, index))
    return share if dkg.is_share(share, deal.commitments, index) else None


def accuse(deal: Deal, context: Hash32, secret: bytes, index: int) -> Accusation:
    """Accuse a dealer of a wrong share; only of a deal that passed `check_deal`, and never of a right one."""
    assert open_share(deal, context, secret, index) is None, "the share fits"
    revealed = sealing.reveal(secret, deal.point, context)
    return Accusation(revealed.shared, revealed.proof)


def is_guilty(
    deal: Deal, context: Hash32, receiver_key: VrfPublicKey, index: int, accusation: Accusation
) -> bool:
    """Return whether the accused dealer's share is wrong.

    Args:
      deal: a deal that passed `check_deal`.
      context: names this dealer's part in this key generation.
      receiver_key: the accuser's VRF key.
      index: the accuser's place, from 1.
      accusation: what the accuser revealed.

    Returns:
      False if the share fits, so the accusation was a false one.

    Raises:
      InvalidProof: what was revealed is not the point that the accuser shares with the dealer.
    """
    revealed = sealing.Revealed(accusation.shared, accusation.proof)
    sealed = _sealed(deal, index)
    share = sealing.open_revealed(receiver_key, deal.point, revealed, context, index, sealed)
    return not dkg.is_share(share, deal.commitments, index)


def public_keys(
    deals: Mapping[int, Deal], members: int, *, renewed: bool
) -> tuple[BlsPublicKey, tuple[BlsPublicKey, ...]]:
    """Return the committee's key, and each member's public share, under which its own signatures verify.

    Args:
      deals: those that count, by their dealers' indices from 1; of one threshold, and all checked. When
        resharing at least as many as the old threshold, and the indices are those in the old committee.
      members: how many receive shares.
      renewed: the deals are resharings.

    Returns:
      The key, and the shares in order. A member who deals last can make its own share infinity, under which
      no signature verifies.

    Raises:
      InvalidProof: the secrets sum to zero, which can only be when all dealers plotted it.
    """
    dealt = {index: deal.commitments for index, deal in deals.items()}
    group, *shares = dkg.combine_commitments(dealt, range(members + 1), renewed=renewed)
    bls.check_key(group)
    return group, tuple(shares)


def combine_share(shares: Mapping[int, bytes], *, renewed: bool) -> bytes:
    """Return a member's share of the committee's key, 32 bytes.

    Args:
      shares: its share of each deal that counts, by the dealers' indices from 1.
      renewed: the deals are resharings.
    """
    return dkg.combine_shares(shares, renewed=renewed)


def _sealed(deal: Deal, index: int) -> Hash32:
    assert 1 <= index <= len(deal.shares), "not a member's place"
    return deal.shares[index - 1]

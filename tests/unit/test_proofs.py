"""Confirmations free a record only with a proof that their sender has received it."""

from __future__ import annotations

import json
from binascii import b2a_base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.common.seq_ranges import SeqRanges
from gateway.ingest.batch import Confirmation, Sender
from gateway.ingest.confirmations import confirmation_messages
from gateway.model.receipt import PROOF_BYTES, Claim, new_tag, proof_of, receipt_of
from gateway.mqtt.messages import BadMessage, parse_confirmation
from gateway.mqtt.topics import Topics
from gateway.publish import proofs as proofs_module
from gateway.publish.proofs import Proofs, Proved

ROOT, OTHER_ROOT = "lineside/v1", "plant/north"
PLACE = "acme/north/curing/curing-1/press-01/data"
SENDER = Sender("acme", "north", "edge-01", "9f2c")
NOTHING = Proved([], {}, [], [])
SEQS = st.integers(1, 12)


def payload(seq: int) -> bytes:
    return b"record %d" % seq


def proofs(count: int = 12, **options: Any) -> Proofs:
    """Return the proofs of a gateway that has sent the records 1 to `count`."""
    key = options.pop("key", b"")
    made = Proofs(ROOT, **options)
    made.key = key
    for seq in range(1, count + 1):
        made.sent(seq, f"{ROOT}/{PLACE}", payload(seq))
    return made


def one(
    seq: int, set_aside: int = 0, place: str = PLACE, content: bytes | None = None, key: bytes = b""
) -> Confirmation:
    """Return the confirmation of a record that ingest has received."""
    return Confirmation(SENDER, seq, receipt_of(place, payload(seq) if content is None else content, key), set_aside)


def messages(*stored: Confirmation, accepted: Any = (), lost: Any = ()) -> list[bytes]:
    """Return the payloads that ingest sends."""
    return [sent for _, sent in confirmation_messages(Topics(OTHER_ROOT), "ingest", "i", stored, accepted, lost)]


def checked(known: Proofs, *payloads: bytes) -> Proved:
    """Return the proved part of messages."""
    ranges, taken, lost = SeqRanges(), SeqRanges(), SeqRanges()
    set_aside: dict[int, int] = {}
    for sent in payloads:
        proved = known.check(parse_confirmation(sent))
        for found, spans in ((ranges, proved.ranges), (taken, proved.taken), (lost, proved.lost)):
            for span in spans:
                found.add(*span)
        set_aside |= proved.set_aside
    return Proved(list(ranges), set_aside, list(taken), list(lost))


def test_received_records_are_confirmed_with_the_readings_set_aside():
    """Gateway and ingest compute the same receipt, also with other roots: a bridge may change them."""
    known = proofs()
    sent = messages(*(one(seq, 2 if seq == 5 else 0) for seq in (1, 2, 3, 5, 7)), accepted=[one(8)], lost=[one(9)])
    assert checked(known, *sent) == Proved([(1, 3), (5, 5), (7, 7)], {5: 2}, [(8, 8)], [(9, 9)])
    assert known.refused.total() == 0
    assert len(known) == 7


@given(
    received=st.sets(SEQS),
    forged=st.lists(st.tuples(SEQS, st.binary(max_size=12), st.integers(0, 3))),
    moved=st.sets(SEQS),
    shuffled=st.booleans(),
)
def test_no_confirmation_without_the_bytes_frees_a_record(
    received: set[int], forged: list[tuple[int, bytes, int]], moved: set[int], *, shuffled: bool
):
    """A third client may publish any records in the name of a gateway, also the same bytes at another place."""
    known = proofs()
    genuine = [one(seq, seq % 2) for seq in received]
    others = [one(seq, set_aside, content=content) for seq, content, set_aside in forged]
    others += [one(seq, place="acme/north/evil/evil-1/m/data") for seq in moved]
    mixed = others + genuine if shuffled else genuine + others
    proved = checked(known, *messages(*mixed))
    assert [seq for first, last in proved.ranges for seq in range(first, last + 1)] == sorted(received)
    assert proved.set_aside == {seq: 1 for seq in received if seq % 2}


@given(st.lists(st.tuples(SEQS, st.binary(min_size=PROOF_BYTES, max_size=PROOF_BYTES))), st.sampled_from(list(Claim)))
def test_no_guessed_proof_is_accepted(guesses: list[tuple[int, bytes]], claim: Claim):
    """A client that may publish confirmations has to guess 64 bits for each record."""
    key = {Claim.STORED: "ranges", Claim.TAKEN: "taken", Claim.LOST: "lost"}[claim]
    written: dict[str, Any] = {"spool": "9f2c", "ranges": []} | {key: [[seq, seq] for seq, _ in guesses]}
    written["proofs"] = b2a_base64(b"".join(guess for _, guess in guesses), newline=False).decode()
    known = proofs()
    assert checked(known, json.dumps(written).encode()) == NOTHING
    assert len(known) == 12


@given(st.permutations([*Claim, 2]), st.integers(1, 3))
def test_the_proof_of_one_claim_proves_no_other(claims: list[Claim | int], readings: int):
    """Anyone may read that a record is `taken`, long before it is stored; and how many readings were set aside."""
    receipt = one(1).receipt
    made = {
        proof_of(claim, receipt) if isinstance(claim, Claim) else proof_of(Claim.STORED, receipt, readings)
        for claim in claims
    }
    assert len(made) == 4
    [sent] = messages(accepted=[one(1)])
    taken = json.loads(sent)
    for key in ("ranges", "lost"):
        other = taken | {"taken": [], "ranges": [], key: taken["taken"]}
        assert checked(proofs(), json.dumps(other).encode()) == NOTHING
    [sent] = messages(one(1, readings))
    stored = json.loads(sent)
    for other in (stored | {"set_aside": {}}, stored | {"set_aside": {"1": readings + 1}}):
        assert checked(proofs(), json.dumps(other).encode()) == NOTHING


def test_a_repeated_confirmation_does_nothing():
    """An intruder may replay it, and ingest confirms each copy of a record that was sent twice."""
    known, sent = proofs(), messages(one(1), one(2))
    assert checked(known, *sent).ranges == [(1, 2)]
    assert checked(known, *sent) == NOTHING
    assert known.refused == {"not_sent": 2}


def test_an_old_confirmation_does_not_free_another_record_of_its_number():
    """A spool that was restored from a copy gives out some numbers again; its records have other tags."""
    known = Proofs(ROOT)
    before, after = (b"same values" + new_tag().encode() for _ in range(2))
    known.sent(1, f"{ROOT}/{PLACE}", after)
    assert checked(known, *messages(one(1, content=before))) == NOTHING
    assert known.refused == {"wrong_proof": 1}
    assert checked(known, *messages(one(1, content=after))).ranges == [(1, 1)]


def test_confirmations_without_proofs_are_accepted_only_by_choice():
    """An ingest of an earlier version sends none."""
    old = b'{"spool":"9f2c","ranges":[[1,9007199254740991]],"set_aside":{"3":1},"taken":[[4,5]]}'
    strict, lenient = proofs(), proofs(accept_unproved=True)
    assert checked(strict, old) == NOTHING
    assert (strict.refused, len(strict)) == ({"unproved": 1}, 12)
    assert checked(lenient, old) == Proved([(1, 2**53 - 1)], {3: 1}, [(4, 5)], [])
    assert len(lenient) == 0
    forged = messages(one(1, content=b"other"))
    assert checked(proofs(accept_unproved=True), *forged) == NOTHING, "a wrong proof is worse than none"


def test_with_a_shared_key_a_client_can_not_confirm_records_that_it_has_read():
    """A broker may let every client read all records."""
    known = proofs(key=b"secret")
    assert checked(known, *messages(one(1), one(2, key=b"other"))) == NOTHING
    assert known.refused == {"wrong_proof": 2}
    assert checked(known, *messages(one(1, key=b"secret"), one(2, 1, key=b"secret"))).ranges == [(1, 2)]


@pytest.mark.parametrize("proof", ["AAAA", "!", "AAAAAAAAAAA", "AAAAAAAAAAA=A", 7, None])
def test_proofs_have_to_fit_the_records(proof: object):
    """A range up to 2^63 with one proof must not cost more than its message."""
    written = {"spool": "9f2c", "ranges": [[1, 2**63 - 1]], "proofs": proof}
    with pytest.raises(BadMessage):
        parse_confirmation(json.dumps(written).encode())


def test_receipts_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """Records that nobody confirms must not use memory without limit; those sent last are proved."""
    monkeypatch.setattr(proofs_module, "MAX_RECEIPTS", 5)
    known = proofs(12)
    known.sent(8, f"{ROOT}/{PLACE}", payload(8))
    known.sent(13, f"{ROOT}/{PLACE}", payload(13))
    assert checked(known, *messages(*(one(seq) for seq in range(1, 14)))).ranges == [(8, 8), (10, 13)]


def test_the_documented_receipt():
    """Other programs compute it, see docs/topics.md: it must not change."""
    receipt = receipt_of(PLACE, b'{"v":1,"gateway":"edge-01"}')
    assert proof_of(Claim.STORED, receipt).hex() == "2992ebca246c2dca"
    assert proof_of(Claim.TAKEN, receipt).hex() == "30640877b06829f8"
    assert proof_of(Claim.LOST, receipt).hex() == "36d70971955c680a"
    keyed = receipt_of(PLACE, b'{"v":1,"gateway":"edge-01"}', b"secret")
    assert proof_of(Claim.STORED, keyed).hex() == "8af39719ab663b61"
    assert proof_of(Claim.STORED, receipt, 2).hex() == "6e85f82e12c73879"

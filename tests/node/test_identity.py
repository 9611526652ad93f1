"""Is the node still the same process? The decision, apart."""

from __future__ import annotations

from itertools import product
from math import inf

import pytest

from orchd.domain.offer import NodeProgram
from orchd.node.identity import BACK_S, FORMER, SWEPT_S, LostRunner, NodeIdentity, NodeSighting, is_new
from orchd.node.ports import Probed
from orchd.node.starts import BURST, EACH_S, StartsLeft

GO = Probed(NodeProgram.GO_LIVEPEER, live_runner=True)
NODE = Probed(NodeProgram.LIVEPEER_NODE, live_runner=True)
BOOLS = (False, True)
CERTIFICATES = (None, "a", "b")


@pytest.mark.parametrize(("certificate", "sentinel", "gone"), list(product("ab", "12", BOOLS)))
def test_the_same_certificate_and_sentinel_are_the_same_process(certificate: str, sentinel: str, gone: bool) -> None:
    known = NodeIdentity(GO, certificate, sentinel)
    prices = {"x": sentinel, "y": "3"}
    assert not is_new(known, NodeSighting(GO, certificate, prices, gone=gone, lost=LostRunner(1.0, 1.0)), "x")


@pytest.mark.parametrize("prices", [{}, {"x": "2"}, {"y": "1"}])
@pytest.mark.parametrize("certificate", CERTIFICATES)
def test_a_sentinel_that_is_not_ours_is_another_process(prices: dict[str, str], certificate: str | None) -> None:
    assert is_new(NodeIdentity(GO, "a", "1"), NodeSighting(GO, certificate, prices), "x")


@pytest.mark.parametrize(("sentinel", "prices"), [(None, {}), (None, None), ("1", None)])
def test_where_no_sentinel_can_be_read_the_certificate_tells(
    sentinel: str | None, prices: dict[str, str] | None
) -> None:
    known = NodeIdentity(GO, "a", sentinel)
    assert is_new(known, NodeSighting(GO, "b", prices), "x")
    assert is_new(known, NodeSighting(GO, None, prices), "x")
    assert not is_new(known, NodeSighting(GO, "a", prices, gone=True), "x")


@pytest.mark.parametrize("gone", BOOLS)
def test_where_there_is_neither_a_go_livepeer_that_was_away_counts_as_restarted(gone: bool) -> None:
    assert is_new(NodeIdentity(GO, None), NodeSighting(GO, gone=gone), "x") is gone


@pytest.mark.parametrize(("known", "seen", "gone"), list(product(CERTIFICATES, CERTIFICATES, BOOLS)))
def test_livepeer_node_has_no_certificate_of_its_own_and_being_away_proves_nothing(
    known: str | None, seen: str | None, gone: bool
) -> None:
    assert not is_new(NodeIdentity(NODE, known), NodeSighting(NODE, seen, gone=gone, back_at=1.0), "x")


@pytest.mark.parametrize(("program", "certificate"), list(product((GO, NODE), CERTIFICATES)))
def test_what_the_node_has_forgotten_proves_a_restart_unless_it_may_have_been_swept(
    program: Probed, certificate: str | None
) -> None:
    known, heard_at = NodeIdentity(program, certificate), 1e6
    for silent_s, back_s in product((0.0, SWEPT_S - 0.1, SWEPT_S, 3600.0), (0.0, BACK_S - 0.1, BACK_S, inf)):
        lost = LostRunner(heard_at - silent_s, heard_at)
        seen = NodeSighting(program, certificate, lost=lost, back_at=heard_at - back_s)
        assert is_new(known, seen, "x") is (back_s < BACK_S or silent_s < SWEPT_S)


@pytest.mark.parametrize(
    ("known", "seen"),
    [(GO, NODE), (NODE, GO), (GO, Probed(GO.program, live_runner=False)), (Probed(GO.program, live_runner=False), GO)],
)
def test_another_program_or_another_set_of_registries_is_another_process(known: Probed, seen: Probed) -> None:
    assert is_new(NodeIdentity(known, "a", "1"), NodeSighting(seen, "a", {"x": "1"}), "x")


def test_a_certificate_that_was_seen_before_is_no_restart_and_plain_http_is_none() -> None:
    known = NodeIdentity(GO, "a").succeeded(GO, "b").shown("c").succeeded(GO, "d")
    assert not any(is_new(known, NodeSighting(GO, each), "x") for each in "abcd")
    assert is_new(known, NodeSighting(GO, "e"), "x")
    assert is_new(NodeIdentity(GO, None).succeeded(GO, "a"), NodeSighting(GO, None), "x")


def test_only_so_many_certificates_are_remembered() -> None:
    known = NodeIdentity(GO, "0")
    for number in range(1, 1000):
        known = known.shown(str(number)).shown(str(number))
    assert known.former == tuple(str(number) for number in range(999 - FORMER, 999))


def test_starts_are_believed_as_fast_as_a_crash_loop_and_then_again_with_time() -> None:
    left: StartsLeft | None = StartsLeft(at=100.0)
    for _ in range(BURST):
        assert left is not None
        left = left.counted(100.0)
    assert left is not None
    assert left.counted(100.0 + EACH_S - 0.1) is None
    later = left.counted(100.0 + EACH_S)
    assert later is not None
    assert later.counted(100.0 + EACH_S) is None
    rested = later.counted(1e6)
    assert rested is not None
    assert rested.left == BURST - 1

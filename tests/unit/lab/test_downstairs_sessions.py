# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may be active: the recorded rules of promotion, the real fault in them, and the fence without it."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from propolis_lab.downstairs.identity import Identity
from propolis_lab.downstairs.sessions import Active, Fence, Sessions
from propolis_lab.region import Age

A, B = UUID(int=0xA), UUID(int=0xB)
ONE, TWO = UUID(int=1), UUID(int=2)


def _sessions(fence: Fence = Fence.BY_UPSTAIRS_ID, *, read_only: bool = False) -> Sessions:
    return Sessions(read_only=read_only, fence=fence, age=Age.TODAY)


def test_the_first_session_is_accepted_whatever_its_generation() -> None:
    sessions = _sessions()
    promotion = sessions.promote(0, Identity(A, ONE, 0))
    assert (promotion.refused, promotion.live) == (None, None)


def test_a_lower_generation_is_refused_with_the_recorded_sentence() -> None:
    sessions = _sessions()
    sessions.promote(0, Identity(A, ONE, 40))
    assert sessions.promote(1, Identity(A, TWO, 35)).refused == "Current gen 40 is > requested gen of 35"


def test_the_same_generation_of_another_session_is_refused_with_the_recorded_sentence() -> None:
    sessions = _sessions()
    live, new = Identity(A, ONE, 10), Identity(A, TWO, 10)
    sessions.promote(0, live)
    assert sessions.promote(1, new).refused == (
        f"Same gen, but UUIDs UpstairsConnection {{ upstairs_id: {A}, session_id: {ONE}, generation: 10 }} "
        f"don't match UpstairsConnection {{ upstairs_id: {A}, session_id: {TWO}, generation: 10 }}"
    )


def test_the_same_session_that_comes_back_puts_its_old_connection_out() -> None:
    sessions = _sessions()
    sessions.promote(0, Identity(A, ONE, 10))
    promotion = sessions.promote(1, Identity(A, ONE, 10))
    assert (promotion.refused, promotion.live) == (None, Active(0, Identity(A, ONE, 10)))
    assert [active.connection for active in sessions.active] == [1]


@pytest.mark.parametrize("upstairs", [A, B])
def test_a_higher_generation_takes_over_whatever_its_ids(upstairs: UUID) -> None:
    sessions = _sessions()
    sessions.promote(0, Identity(A, ONE, 10))
    promotion = sessions.promote(1, Identity(upstairs, TWO, 11))
    assert promotion.live == Active(0, Identity(A, ONE, 10))
    assert sessions.active == (Active(1, Identity(upstairs, TWO, 11)),)


def test_the_real_fault_a_refused_rival_with_the_same_upstairs_id_clears_the_live_session_when_it_ends() -> None:
    sessions = _sessions()
    sessions.promote(0, Identity(A, ONE, 40))
    rival = Identity(A, TWO, 35)
    assert sessions.promote(1, rival).refused is not None
    assert sessions.ended(1, rival, clean=False)
    assert sessions.promote(2, rival).refused is None


def test_a_refused_rival_with_another_upstairs_id_clears_nothing() -> None:
    sessions = _sessions()
    sessions.promote(0, Identity(A, ONE, 40))
    assert not sessions.ended(1, Identity(B, TWO, 40), clean=False)
    assert sessions.promote(2, Identity(B, TWO, 40)).refused is not None


def test_the_strict_fence_holds_against_a_rival_that_comes_again_and_again() -> None:
    sessions = _sessions(Fence.BY_CONNECTION)
    live = Identity(A, ONE, 40)
    sessions.promote(0, live)
    for number in range(1, 5):
        rival = Identity(A, TWO, 36 + number)
        assert sessions.promote(number, rival).refused is not None
        assert not sessions.ended(number, rival, clean=True)
    assert sessions.ended(0, live, clean=False)
    assert sessions.active == ()


def test_in_2023_a_broken_connection_leaves_a_ghost_and_an_orderly_end_does_not() -> None:
    sessions = _sessions(Fence.BY_CLEAN_END)
    ghost = Identity(A, ONE, 40)
    sessions.promote(0, ghost)
    assert not sessions.ended(0, ghost, clean=False)
    assert sessions.promote(1, Identity(A, TWO, 40)).refused is not None
    newer = Identity(A, TWO, 41)
    assert sessions.promote(2, newer).refused is None
    assert sessions.ended(2, newer, clean=True)
    assert sessions.active == ()


def test_a_read_only_downstairs_has_many_sessions_but_one_of_each_upstairs_and_looks_at_no_generation() -> None:
    sessions = _sessions(read_only=True)
    sessions.promote(0, Identity(A, ONE, 9))
    assert sessions.promote(1, Identity(B, ONE, 3)).live is None
    assert sessions.promote(2, Identity(A, TWO, 1)).live == Active(0, Identity(A, ONE, 9))
    assert {active.connection for active in sessions.active} == {1, 2}


@given(
    st.lists(
        st.tuples(st.sampled_from([A, B]), st.sampled_from([ONE, TWO]), st.integers(0, 3), st.booleans()), max_size=25
    )
)
def test_with_the_strict_fence_no_open_connection_is_active_beside_another_or_below_it(
    steps: list[tuple[UUID, UUID, int, bool]],
) -> None:
    sessions = _sessions(Fence.BY_CONNECTION)
    open_connections: dict[int, Identity] = {}
    for number, (upstairs, session, generation, leave) in enumerate(steps):
        identity = Identity(upstairs, session, generation)
        live = sessions.active
        promotion = sessions.promote(number, identity)
        if promotion.refused is None:
            assert all(identity.generation >= active.identity.generation for active in live)
            if promotion.live is not None:
                open_connections.pop(promotion.live.connection)
            open_connections[number] = identity
        else:
            sessions.ended(number, identity, clean=True)
        assert [active.connection for active in sessions.active] == list(open_connections)
        if leave and open_connections:
            gone, who = open_connections.popitem()
            assert sessions.ended(gone, who, clean=False)

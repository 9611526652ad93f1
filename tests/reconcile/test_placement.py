"""Where new runners go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import RunnerId
from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import Model, RunnerKind
from orchd.domain.runtime_id import RuntimeId
from orchd.reconcile.actions import Create, Forget
from orchd.reconcile.placement import place
from tests.fakes.models import container_model, external_model
from tests.reconcile.world import World
from tests.virtual_time import virtual_time

HERE = RuntimeId(RunnerKind.CONTAINER)
A, B = RuntimeId(RunnerKind.CONTAINER, "a"), RuntimeId(RunnerKind.CONTAINER, "b")
CHILDREN = RuntimeId(RunnerKind.PROCESS)
MODEL = container_model("m")


def create(model: Model = MODEL, replica: int = 0) -> Create:
    return Create(RunnerId(model.key, replica, model.generation), model)


def where(*actions: Create, runtimes: set[RuntimeId], up: set[RuntimeId], **load: int) -> list[RuntimeId | None]:
    loads = {id: load.get(id.host or "here", 0) for id in runtimes}
    return [each.runtime for each in place(actions, runtimes, up, loads) if isinstance(each, Create)]


def test_the_only_runtime_of_its_kind_gets_a_runner_whether_it_is_up_or_not() -> None:
    assert where(create(), runtimes={HERE, CHILDREN}, up={HERE, CHILDREN}) == [HERE]
    assert where(create(), runtimes={HERE, CHILDREN}, up=set()) == [HERE]


def test_what_nothing_here_can_launch_and_what_somebody_else_runs_goes_nowhere() -> None:
    assert where(create(), runtimes={CHILDREN}, up={CHILDREN}) == [None]
    assert where(create(external_model("x")), runtimes={HERE, CHILDREN}, up={HERE, CHILDREN}) == [None]


def test_a_runner_goes_to_the_runtime_that_is_up_and_has_the_fewest() -> None:
    assert where(create(), runtimes={A, B}, up={A, B}, a=2, b=1) == [B]
    assert where(create(), runtimes={A, B}, up={A}, a=2, b=1) == [A]
    assert where(create(), runtimes={A, B}, up={A, B}) == [A], "the first by name"


@given(st.integers(1, 8), st.integers(0, 5), st.integers(0, 5))
def test_replicas_that_are_made_at_once_are_spread(replicas: int, a: int, b: int) -> None:
    made = where(*(create(replica=n) for n in range(replicas)), runtimes={A, B}, up={A, B}, a=a, b=b)
    on_a, on_b = a + made.count(A), b + made.count(B)
    assert abs(on_a - on_b) <= max(1, abs(a - b) - replicas)


def test_other_actions_pass_as_they_are() -> None:
    forget = Forget(create().id)
    assert place([forget], {HERE}, {HERE}, {}) == (forget,)


def test_a_runtime_on_this_host_is_called_by_its_kind() -> None:
    assert (str(HERE), str(A)) == ("container", "container@a")


@virtual_time
async def test_a_runner_stays_where_it_was_placed_or_found_and_one_that_somebody_else_runs_is_nowhere() -> None:
    async with World().orchd(a := container_model("a"), x := external_model("x")) as world:
        await world.until_states(a, [S.READY])
        await world.until_states(x, [S.READY])
        fleet = world.loop.state.fleet
        assert [r.runtime for r in (*fleet.of(a.key), *fleet.of(x.key))] == [HERE, None]
        assert fleet.load([HERE]) == {HERE: 1}
    async with World(runtime=world.runtime, generations=world.generations).orchd(a) as again:
        await again.until_states(a, [S.READY])
        assert [r.runtime for r in again.loop.state.fleet.of(a.key)] == [HERE]
        assert again.loop.state.fleet.load([HERE]) == {HERE: 1}
        again.want()
        await again.until("gone", holds=lambda: not again.loop.state.fleet.runners)
        assert again.loop.state.fleet.load([HERE]) == {HERE: 0}

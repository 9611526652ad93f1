"""The listener for containers is there from the start on, and follows their network."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from orchd.domain.ports import HostSeen
from orchd.errors import Code, OrchdError
from orchd.public.runner_listener import LOOK_S, WAITING, RunnerListener
from orchd.tasks import cancel, spawn
from tests.virtual_time import virtual_time

GATEWAY = HostSeen("172.18.0.1", "172.18.0.1")


@dataclass
class Opened:
    """After `relay.listener.OpenListener`."""

    address: str
    taking: bool = False
    stopped: bool = False

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2]) or 40001

    @property
    def listen(self) -> tuple[str, ...]:
        return () if self.stopped else (self.address,)

    async def take_connections(self) -> None:
        self.taking = True

    def stop_accepting(self) -> None:
        self.stopped = True


@dataclass
class Machine:
    """Attributes:
    seen: where containers reach orchd.
    taken: addresses that can't be listened on.
    """

    seen: HostSeen = field(default_factory=HostSeen)
    taken: set[str] = field(default_factory=set)
    opened: list[Opened] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)

    async def open_at(self, address: str) -> Opened:
        self.tried.append(address)
        if address in self.taken:
            raise OrchdError(f"cannot listen on {address}", code=Code.ADDRESS_IN_USE)
        self.opened.append(Opened(address))
        return self.opened[-1]

    def listener(self, setting: str = ":8739") -> RunnerListener:
        return RunnerListener(setting, lambda: self.seen, self.open_at)


@virtual_time
async def test_it_is_at_loopback_from_the_start_on_and_at_the_gateway_once_that_is_known() -> None:
    machine = Machine()
    listener = machine.listener()
    assert await listener.open() == (8739, "")
    assert machine.tried == ["127.0.0.1:8739"]
    await listener.start()
    following = spawn(listener.follow(), name="follow")
    await asyncio.sleep(10)
    assert (listener.listen, listener.trouble) == (("127.0.0.1:8739",), WAITING)
    machine.seen = GATEWAY
    await asyncio.sleep(2 * LOOK_S)
    assert listener.listen == ("127.0.0.1:8739", "172.18.0.1:8739")
    assert listener.trouble == ""
    assert all(opened.taking for opened in machine.opened)
    await cancel(following)


@virtual_time
async def test_it_is_at_the_gateway_in_the_moment_in_which_that_is_known() -> None:
    machine = Machine()
    listener = machine.listener()
    await listener.open()
    following = spawn(listener.follow(), name="follow")
    await asyncio.sleep(LOOK_S / 2)
    machine.seen = GATEWAY
    listener.look()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert listener.listen == ("127.0.0.1:8739", "172.18.0.1:8739")
    await cancel(following)


@virtual_time
async def test_a_port_that_the_system_chooses_is_the_same_at_the_gateway() -> None:
    machine = Machine(GATEWAY)
    listener = machine.listener(":0")
    assert await listener.open() == (40001, "")
    following = spawn(listener.follow(), name="follow")
    await asyncio.sleep(LOOK_S / 2)
    assert machine.tried == ["127.0.0.1:0", "172.18.0.1:40001"]
    await cancel(following)


@virtual_time
async def test_it_follows_a_network_that_was_made_again() -> None:
    machine = Machine(GATEWAY)
    listener = machine.listener()
    await listener.open()
    following = spawn(listener.follow(), name="follow")
    await asyncio.sleep(LOOK_S)
    machine.seen = HostSeen("fd00::1", "fd00::1")
    await asyncio.sleep(2 * LOOK_S)
    assert listener.listen == ("127.0.0.1:8739", "[fd00::1]:8739")
    assert [opened.stopped for opened in machine.opened] == [False, True, False]
    await cancel(following)


@virtual_time
async def test_an_address_that_is_not_there_yet_is_tried_again_and_told() -> None:
    machine = Machine(GATEWAY, {"172.18.0.1:8739"})
    listener = machine.listener()
    await listener.open()
    following = spawn(listener.follow(), name="follow")
    await asyncio.sleep(5 * LOOK_S)
    assert listener.trouble == "cannot listen on 172.18.0.1:8739"
    machine.taken.clear()
    await asyncio.sleep(2 * LOOK_S)
    assert (listener.listen[1:], listener.trouble) == (("172.18.0.1:8739",), "")
    await cancel(following)


@pytest.mark.parametrize(
    ("setting", "told"),
    [("10.0.0.2:8739", (8739, "10.0.0.2")), ("[fd00::2]:8739", (8739, "fd00::2")), ("0.0.0.0:8739", (8739, ""))],
)
@virtual_time
async def test_an_address_that_is_named_is_all_there_is(setting: str, told: tuple[int, str]) -> None:
    machine = Machine(GATEWAY)
    listener = machine.listener(setting)
    assert await listener.open() == told
    following = spawn(listener.follow(), name="follow")
    await asyncio.sleep(5 * LOOK_S)
    assert machine.tried == [setting]
    assert listener.trouble == ""
    await cancel(following)


@virtual_time
async def test_a_port_that_is_taken_stops_the_start() -> None:
    machine = Machine(taken={"127.0.0.1:8739"})
    with pytest.raises(OrchdError):
        await machine.listener().open()


@virtual_time
async def test_after_the_withdrawal_nothing_is_opened_any_more() -> None:
    machine = Machine(GATEWAY)
    listener = machine.listener()
    await listener.open()
    listener.stop_accepting()
    following = spawn(listener.follow(), name="follow")
    await asyncio.sleep(5 * LOOK_S)
    assert listener.listen == ()
    assert all(opened.stopped for opened in machine.opened)
    assert machine.tried == ["127.0.0.1:8739"]
    await cancel(following)

"""The control socket, as a part: what the commands that give the daemon orders talk to."""

from __future__ import annotations

from orchd.control.down import TakeDown
from orchd.control.logs import ShowLogs
from orchd.control.orders import Order
from orchd.control.restart import Restart
from orchd.control.server import ControlServer
from orchd.control.stop import StartModels, StopModels
from orchd.control.tickets import HasTickets, MarkExported, RotateSecrets
from orchd.history.ports import History
from orchd.part import Context, Part
from orchd.reconcile.ports import Reconciler
from orchd.runtime.ports import Runtimes
from orchd.threads import DaemonThreads

LOOK_TIMEOUT_S = 10.0
"""Looking at a file takes microseconds; longer means that the disk hangs."""


class ControlPart(Part):
    """Listens for commands.

    Args:
        history: is told of each order.
        ledger: None = orchd takes no tickets.

    Attributes:
        down: what `orchd down` does.
    """

    name = "control"

    def __init__(
        self,
        context: Context,
        reconcile: Reconciler,
        runtimes: Runtimes,
        down: TakeDown,
        history: History,
        ledger: HasTickets | None = None,
    ) -> None:
        self._state_dir = context.state_dir
        self._reconcile = reconcile
        self._runtimes = runtimes
        self._history = history
        self.down = down
        self._ledger = ledger
        self._threads = DaemonThreads("control-socket")
        self._server: ControlServer | None = None

    async def open(self) -> None:
        ledger = None if self._ledger is None else self._ledger.ledger
        orders = {
            "down": Order(self.down.run, goes_on=True),
            "logs": Order(ShowLogs(self._reconcile, self._runtimes).run),
            "restart": Order(Restart(self._reconcile, self._history).run),
            "start": Order(StartModels(self._reconcile, self._history).run),
            "stop": Order(StopModels(self._reconcile, self._history).run),
            "tickets_mark": Order(MarkExported(ledger).run, goes_on=True),
            "tickets_rotate": Order(RotateSecrets(ledger, self._history).run, goes_on=True),
        }
        self._server = ControlServer(self._state_dir, orders)
        await self._server.start()

    async def keep(self) -> bool:
        """Make the socket again if its file was removed; return whether it was."""
        assert self._server is not None
        there = await self._threads.run(self._server.is_there, LOOK_TIMEOUT_S)
        if not there:
            await self._server.listen_again()
        return not there

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()

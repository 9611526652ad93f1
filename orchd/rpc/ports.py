"""What the RPC servers offer to those who ask them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from orchd.errors import Code, OrchdError

T = TypeVar("T")


class Call(NamedTuple):
    """One call of JSON-RPC."""

    method: str
    params: tuple[Any, ...] = ()


def call_of(contract: str, data: str) -> Call:
    """Return the call of a contract's function as of the newest block.

    Args:
        contract: address, with 0x.
        data: the selector and its words, with 0x.
    """
    return Call("eth_call", ({"to": contract, "data": data}, "latest"))


class RpcFault(Exception):
    """One server gave no answer that can be used. The text says why, and holds no URL and no words of the server.

    Attributes:
        wait_s: seconds for which it wants not to be asked; 0 = it does not say.
    """

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class RpcUnanswered(OrchdError):
    """No server gave an answer that can be used.

    Attributes:
        tried: the name of each server, and why.
    """

    code = Code.RPC_UNAVAILABLE

    def __init__(self, tried: Sequence[tuple[str, str]]) -> None:
        self.tried = tuple(tried)
        super().__init__(f"cannot read from any RPC server: {self.why}")

    @property
    def why(self) -> str:
        return "; ".join(f"{name}: {why}" for name, why in self.tried)


class Rpc(Protocol):
    """RPC servers, of which one answers."""

    async def ask(self, calls: Sequence[Call], read: Callable[[Sequence[Any]], T], timeout_s: float | None = None) -> T:
        """Return what `read` makes of the results of these calls, all by one server.

        Servers that answer are asked first, in the order of the file; the next one where one fails.

        Args:
            read: gets the results in the order of the calls. It raises RpcFault for what makes no sense: then the next
                server is asked.
            timeout_s: seconds for each server; None = the setting.

        Raises:
            RpcUnanswered: none answers so.
        """
        ...

    async def ask_each(
        self, calls: Sequence[Call], read: Callable[[Sequence[Any]], T], timeout_s: float | None = None
    ) -> Sequence[tuple[str, T]]:
        """Ask all servers at once, and return the name of each that answers, with its answer, in their order.

        As `ask`; it never raises.
        """
        ...

    def distrust(self, server: str, why: str) -> None:
        """Ask this server last for a while: it says something that can't be true."""
        ...


class HasRpc(Protocol):
    """The part that asks RPC servers."""

    @property
    def rpc(self) -> Rpc: ...

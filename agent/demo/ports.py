"""The demo's ports on this machine: told by one number, and looked at before anything is started."""

import random
import socket
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
TILLS = 2
PORT_BASE_DEFAULT = 8700
_STEP = 10
# Below are the ports of the system, above there must be room for the tills.
PORT_BASE_MIN, PORT_BASE_MAX = 1024, 65_535 - _STEP * TILLS
# Outside the ports that systems give to outgoing connections: that of a stopped hub must stay free for it.
_QUIET_BASES = range(20_000, 30_000, 50)


class PortsTaken(Exception):
    """A port is taken; the message names it and the way out."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The hub listens at `base`, each till 10 above the one before."""

    base: int

    @property
    def hub(self) -> int:
        """The hub's port."""
        return self.base

    @property
    def tills(self) -> tuple[int, ...]:
        """The port of each till."""
        return tuple(self.base + _STEP * number for number in range(1, TILLS + 1))

    def check_free(self) -> None:
        """Make sure that nobody listens at any of them.

        Raises:
            PortsTaken: somebody does.
        """
        for port in (self.hub, *self.tills):
            if is_taken(port):
                raise PortsTaken(
                    f"port {port} is taken by another program; stop that one, or choose other ports, for example"
                    f" --port-base {free_ports().base} (the hub there, the tills {_STEP} and {2 * _STEP} above)"
                )


def free_ports() -> Ports:
    """Return ports of which none is taken now.

    Raises:
        PortsTaken: there are none.
    """
    for base in random.sample(_QUIET_BASES, len(_QUIET_BASES)):
        ports = Ports(base)
        if not any(map(is_taken, (ports.hub, *ports.tills))):
            return ports
    raise PortsTaken(f"no three ports in a row of {_STEP} are free from {_QUIET_BASES.start} to {_QUIET_BASES.stop}")


def is_taken(port: int) -> bool:
    """Tell whether a program listens at a port, as the server that wants it would find out."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError:
            return True
    return False


def answers(port: int) -> bool:
    """Tell whether somebody accepts a connection at a port now."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0

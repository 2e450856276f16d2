"""The demo: `python -m agent.demo` runs the sample shop until Ctrl-C, `--check` does the main job in one by itself.

0: done, or stopped. 1: something is wrong; the reason stands on stderr or in the transcript. 2: asked for wrongly.
"""

import argparse
import asyncio
import functools
import io
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from agent.demo.check import STEPS, Check
from agent.demo.opening import DemoError, open_shop
from agent.demo.ports import PORT_BASE_DEFAULT, PORT_BASE_MAX, PORT_BASE_MIN, Ports, PortsTaken, free_ports
from agent.demo.processes import ProcessFailed
from agent.demo.shop_files import ShopFiles
from agent.demo.show import Show
from agent.demo.transcript import Transcript
from agent.demo.waiting import NotSeen
from agent.keys import KeyFileError
from agent.till_client import TillNotRunning, TillRefused
from sync.runtime.clock import SystemClock
from sync.runtime.settings import SettingsError

EXIT_DONE, EXIT_FAILED = 0, 1
STATE_DEFAULT = Path(__file__).resolve().parents[2] / "demo-state"
_SAID = (
    DemoError,
    KeyFileError,
    NotSeen,
    PortsTaken,
    ProcessFailed,
    SettingsError,
    TillNotRunning,
    TillRefused,
)

_say = functools.partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo or its check, and return the exit code."""
    asked = _parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal of another alphabet still gets every line
    try:
        return asyncio.run(_until_told(asked))
    except OSError as error:
        print(f"demo: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    except _SAID as error:
        print(f"demo: {error}", file=sys.stderr)
        return EXIT_FAILED
    except (asyncio.CancelledError, KeyboardInterrupt):
        _say("DEMO  stopped")
        return EXIT_FAILED if asked.check else EXIT_DONE


async def _until_told(asked: argparse.Namespace) -> int:
    """Run what was asked for; the first signal to end cancels it, and further ones do not disturb its ending."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    told = False

    def end() -> None:
        nonlocal told
        if not told and task is not None:
            told = True
            task.cancel()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(name, end)
    return await (_check() if asked.check else _show(ShopFiles(asked.state), Ports(asked.port_base)))


async def _show(files: ShopFiles, ports: Ports) -> int:
    clock = SystemClock()
    async with open_shop(files, ports, clock) as shop:
        await Show(shop, _say, clock).run()
    return EXIT_DONE


async def _check() -> int:
    """Do the main job in a folder of its own, which stays for whoever looks for the reason of a failure."""
    clock = SystemClock()
    began_s = clock.monotonic()
    files, ports = ShopFiles(Path(tempfile.mkdtemp(prefix="loyalty-demo-check-"))), free_ports()
    transcript = Transcript(_say, clock, STEPS)
    _say(f"DEMO  the main job by itself; state in {files.folder}, ports {ports.base} to {ports.tills[-1]}")
    failed = False
    try:
        async with open_shop(files, ports, clock) as shop:
            await Check(shop, transcript, clock).run()
    except (*_SAID, OSError) as error:
        failed = True
        transcript.failed(str(error))
    finally:
        if not failed:
            files.remove()
    took = f"{clock.monotonic() - began_s:.0f} s"
    if failed:
        _say(f"Not good, after {took}. The state and the logs are kept in {files.folder}")
        return EXIT_FAILED
    _say(f"Good: nothing lost, nothing doubled, every balance equal, in {took}")
    return EXIT_DONE


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="A hub and two tills of a sample coffee shop on this machine. Everybody in it is made up.",
    )
    parser.add_argument(
        "--check", action="store_true", help="do the main job by itself, in a folder that is thrown away"
    )
    parser.add_argument("--state", type=Path, metavar="DIR", help="folder of the demo (default: demo-state)")
    parser.add_argument(
        "--port-base",
        type=_port_base,
        default=PORT_BASE_DEFAULT,
        metavar="PORT",
        help="port of the hub; the tills are 10 and 20 above (default: %(default)s)",
    )
    asked = parser.parse_args(arguments)
    if asked.check and (asked.state is not None or asked.port_base != PORT_BASE_DEFAULT):
        parser.error("--check has a folder and ports of its own")
    asked.state = (asked.state or STATE_DEFAULT).absolute()
    return asked


def _port_base(text: str) -> int:
    if text.isascii() and text.isdigit() and PORT_BASE_MIN <= int(text) <= PORT_BASE_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a number from {PORT_BASE_MIN} to {PORT_BASE_MAX}")


if __name__ == "__main__":
    sys.exit(main())

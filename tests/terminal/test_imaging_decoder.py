import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from PIL import Image

from agent.codes import make_card_number
from agent.imaging.decoder import Decoder, child_command
from agent.imaging.drawing import draw_card
from agent.imaging.errors import (
    DecoderCrashed,
    DecoderTimeout,
    DecoderUnavailable,
    ImageTooLarge,
    ImageUnreadable,
)
from agent.imaging.wire import PICTURE_BYTES_MAX, Reading

CARD = make_card_number(1)
PNG = draw_card(CARD)

# Worse children than ours can be: each says hello properly and then does one thing to the first picture it gets.
HELLO = """
import os, sys, time
from agent.imaging.child import _receive, _send
from agent.imaging.wire import *
answers, pictures = sys.stdout.buffer, sys.stdin.buffer
_send(answers, write_hello(Hello(("zxing",), ())))
_receive(pictures)
"""
HANGS = HELLO + "time.sleep(600)"
ENDS = HELLO + "os._exit(3)"
CRASHES = HELLO + "import ctypes; ctypes.string_at(0)"
BABBLES = HELLO + "_send(answers, b'{}'); time.sleep(600)"
BOASTS = HELLO + "answers.write(b'\\xff' * 4); answers.flush(); time.sleep(600)"
ANSWERS_LATE = HELLO + "time.sleep(600); _send(answers, write_codes([], 1.0))"


def python(script: str) -> list[str]:
    return [sys.executable, "-P", "-c", script]


def once(script: str, flag: Path) -> list[str]:
    """Return a command that runs `script` the first time and a real child from then on."""
    return python(
        f"import pathlib\nflag = pathlib.Path({str(flag)!r})\n"
        "if flag.exists():\n from agent.imaging.child import main; main(['zxing'])\n"
        f"else:\n flag.touch()\n exec({script!r})"
    )


def numbers(reading: Reading) -> set[str]:
    return {code.text for code in reading.codes}


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def limits_of(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/limits").read_text()


@asynccontextmanager
async def no_process_is_left() -> AsyncIterator[None]:
    before = set(children())
    yield
    assert set(children()) <= before


@pytest.fixture(autouse=True)
async def _every_test_leaves_no_process() -> AsyncIterator[None]:
    async with no_process_is_left():
        yield


async def test_card_is_read_in_the_child_by_both_engines() -> None:
    async with Decoder() as decoder:
        hello = await decoder.engines()
        reading = await decoder.read(PNG)

    assert numbers(reading) == {CARD}
    assert reading.engines == hello.engines
    assert reading.ms > 0


@pytest.mark.parametrize("engine", ["zxing", "pyzbar"])
async def test_either_engine_serves_alone(engine: str) -> None:
    async with Decoder(command=child_command([engine])) as decoder:
        if (await decoder.engines()).engines != (engine,):
            pytest.skip("libzbar is not installed here")
        reading = await decoder.read(PNG)

    assert numbers(reading) == {CARD}
    assert {code.engine for code in reading.codes} == {engine}


async def test_missing_libzbar_is_said_and_the_other_engine_serves() -> None:
    without = python(
        "import sys; sys.modules['pyzbar'] = None\nfrom agent.imaging.child import main; main(['zxing', 'pyzbar'])"
    )
    async with Decoder(command=without) as decoder:
        hello = await decoder.engines()
        reading = await decoder.read(PNG)

    assert hello.engines == ("zxing",)
    assert hello.missing == ("libzbar cannot be loaded: install the system package libzbar0",)
    assert numbers(reading) == {CARD}


async def test_no_engine_at_all_is_said_with_every_remedy() -> None:
    without = python(
        "import sys; sys.modules['pyzbar'] = sys.modules['zxingcpp'] = None\n"
        "from agent.imaging.child import main; main(['zxing', 'pyzbar'])"
    )
    async with Decoder(command=without) as decoder:
        with pytest.raises(DecoderUnavailable, match=r"install the Python package zxing-cpp.*libzbar0"):
            await decoder.read(PNG)


@pytest.mark.parametrize("command", [["/no/such/program"], [sys.executable, "-c", "pass"], python("print('hello')")])
async def test_child_that_cannot_start_is_said(command: list[str]) -> None:
    async with Decoder(command=command) as decoder:
        with pytest.raises(DecoderUnavailable):
            await decoder.engines()


async def test_hanging_child_is_killed_and_the_next_picture_is_read(tmp_path: Path) -> None:
    async with Decoder(command=once(HANGS, tmp_path / "flag"), timeout_s=2) as decoder:
        await decoder.engines()
        hung = children()
        with pytest.raises(DecoderTimeout, match="within 2 s"):
            await decoder.read(PNG)
        assert not any(process.is_running() for process in hung)
        assert numbers(await decoder.read(PNG)) == {CARD}


@pytest.mark.parametrize("script", [ENDS, CRASHES, BABBLES, BOASTS], ids=["ends", "crashes", "babbles", "boasts"])
async def test_child_that_dies_or_babbles_costs_one_picture(script: str, tmp_path: Path) -> None:
    async with Decoder(command=once(script, tmp_path / "flag")) as decoder:
        with pytest.raises(DecoderCrashed):
            await decoder.read(PNG)
        assert numbers(await decoder.read(PNG)) == {CARD}


async def test_child_killed_between_pictures_costs_one_picture() -> None:
    async with Decoder() as decoder:
        await decoder.engines()
        (child,) = children()
        child.kill()
        with pytest.raises(DecoderCrashed):
            await decoder.read(PNG)
        assert numbers(await decoder.read(PNG)) == {CARD}


async def test_late_answer_is_never_taken_for_that_of_the_next_picture(tmp_path: Path) -> None:
    async with Decoder(command=once(ANSWERS_LATE, tmp_path / "flag")) as decoder:
        await decoder.engines()
        reading = asyncio.ensure_future(decoder.read(PNG))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert numbers(await decoder.read(PNG)) == {CARD}


async def test_bad_pictures_are_refused_and_the_child_lives_on(tmp_path: Path) -> None:
    flood = tmp_path / "flood.png"
    Image.new("1", (10_000, 10_000)).save(flood)
    async with Decoder() as decoder:
        await decoder.engines()
        (child,) = children()
        with pytest.raises(ImageTooLarge, match="40 megapixels"):
            await decoder.read(flood.read_bytes())
        with pytest.raises(ImageTooLarge, match="bytes"):
            await decoder.read(bytes(PICTURE_BYTES_MAX + 1))
        for rubbish in (b"", PNG[:500], b"no picture", bytes(PICTURE_BYTES_MAX)):
            with pytest.raises(ImageUnreadable):
                await decoder.read(rubbish)
        assert numbers(await decoder.read(PNG)) == {CARD}
        assert children() == [child]


async def test_pictures_sent_at_once_each_get_their_own_answer() -> None:
    cards = [make_card_number(serial) for serial in range(8)]
    async with Decoder() as decoder:
        readings = await asyncio.gather(*(decoder.read(draw_card(card)) for card in cards))
        assert len(children()) == 1
    assert [numbers(reading) for reading in readings] == [{card} for card in cards]


async def test_decoder_that_was_never_used_starts_and_leaves_nothing() -> None:
    async with Decoder():
        assert children() == []


async def test_child_that_will_not_end_is_killed_at_close() -> None:
    stubborn = python(
        "from agent.imaging.child import _send\n" + HELLO.replace("_receive(pictures)", "time.sleep(600)")
    )
    async with Decoder(command=stubborn) as decoder:
        await decoder.engines()
        (child,) = children()
    assert not child.is_running()


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="limits are read from /proc")
async def test_child_has_no_core_dump_no_files_to_write_and_bounded_memory() -> None:
    async with Decoder() as decoder:
        await decoder.engines()
        (child,) = children()
        limits = limits_of(child)
    told = {line[:25].strip(): line[25:].split()[:2] for line in limits.splitlines()[1:]}
    assert told["Max core file size"] == ["0", "0"]
    assert told["Max file size"] == ["0", "0"]
    assert told["Max address space"] == [str(1 << 30)] * 2


async def test_picture_that_needs_too_much_memory_costs_one_child_not_the_machine(tmp_path: Path) -> None:
    greedy = "import agent.imaging.child as c; c.read_codes = lambda *_: bytearray(2 << 30); c.main(['zxing'])"
    async with Decoder(command=once(greedy, tmp_path / "flag")) as decoder:
        with pytest.raises(DecoderCrashed):
            await decoder.read(PNG)
        assert numbers(await decoder.read(PNG)) == {CARD}


async def test_what_a_library_prints_does_not_spoil_the_answer() -> None:
    noisy = (
        "import os, agent.imaging.child as c; read = c.read_codes\n"
        "c.read_codes = lambda *a: (os.write(1, b'WARNING: zbar'), read(*a))[1]\nc.main(['zxing'])"
    )
    async with Decoder(command=python(noisy)) as decoder:
        assert numbers(await decoder.read(PNG)) == {CARD}


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_ctrl_c_reaches_the_whole_group_and_the_child_waits_for_the_agent() -> None:
    async with Decoder() as decoder:
        await decoder.engines()
        (child,) = children()
        child.send_signal(signal.SIGINT)
        assert numbers(await decoder.read(PNG)) == {CARD}
        assert child.is_running()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_killed_agent_leaves_no_child_behind() -> None:
    agent = await asyncio.create_subprocess_exec(
        *python(
            "import asyncio\nfrom agent.imaging.decoder import Decoder\n"
            "async def main():\n async with Decoder() as decoder:\n  await decoder.engines()\n"
            "  print('up', flush=True)\n  await asyncio.sleep(600)\n"
            "asyncio.run(main())"
        ),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert agent.stdout is not None
    assert await agent.stdout.readline() == b"up\n"
    (child,) = psutil.Process(agent.pid).children()

    agent.kill()
    await agent.wait()
    await agent.stdout.read()

    await asyncio.to_thread(psutil.wait_procs, [child], 5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_agent_itself_loads_none_of_the_picture_libraries() -> None:
    check = (
        "import sys, agent.scan_files\n"
        "loaded = {'PIL', 'zxingcpp', 'pyzbar', 'qrcode', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    process = await asyncio.create_subprocess_exec(
        *python(check), env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    )
    assert await process.wait() == 0

"""Lines are written whole, in their order, and those of one turn of an event loop together."""

from __future__ import annotations

import asyncio
import io
import threading

from observability.lines import MOST_BYTES, Lines


class Stream(io.StringIO):
    """Remembers what each call wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def write(self, text: str, /) -> int:
        self.written.append(text)
        return super().write(text)


async def test_lines_of_one_turn_are_written_together_when_it_ends() -> None:
    stream = Stream()
    lines = Lines(stream)

    for turn in (1, 2):
        lines.write_soon(f"a{turn}\n")
        lines.write_soon(f"b{turn}\n")
        assert len(stream.written) == turn - 1
        await asyncio.sleep(0)

    assert stream.written == ["a1\nb1\n", "a2\nb2\n"]


async def test_a_line_that_cannot_wait_comes_after_those_that_did() -> None:
    stream = Stream()
    lines = Lines(stream)

    lines.write_soon("first\n")
    lines.write("second\n")
    lines.write_soon("third\n")
    await asyncio.sleep(0)

    assert stream.written == ["first\n", "second\n", "third\n"]


async def test_a_thread_without_a_loop_writes_at_once() -> None:
    stream = Stream()
    lines = Lines(stream)

    thread = threading.Thread(target=lines.write_soon, args=("said\n",))
    thread.start()
    thread.join()

    assert stream.written == ["said\n"]


async def test_no_more_is_written_together_than_a_pipe_takes_whole() -> None:
    stream = Stream()
    lines = Lines(stream)
    said = [f"{number}{'ü' * 500}\n" for number in range(20)] + ["x" * 2 * MOST_BYTES + "\n"]

    for line in said:
        lines.write_soon(line)
    lines.flush()

    assert stream.getvalue() == "".join(said)
    assert [len(text.encode()) <= MOST_BYTES for text in stream.written] == [True] * (len(stream.written) - 1) + [False]
    assert len(stream.written) < len(said) / 2


async def test_lines_gathered_by_several_threads_are_each_written_once() -> None:
    stream = Stream()
    lines = Lines(stream)

    async def talk(number: int) -> None:
        for count in range(200):
            lines.write_soon(f"{number} {count}\n")
            if count % 10 == number:
                await asyncio.sleep(0)

    threads = [threading.Thread(target=asyncio.run, args=(talk(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lines.flush()
    assert sorted(stream.getvalue().splitlines()) == sorted(f"{n} {count}" for n in range(4) for count in range(200))


def test_a_closed_stream_is_nobody_s_failure() -> None:
    stream = Stream()
    stream.close()

    Lines(stream).write("unheard\n")

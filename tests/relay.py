"""A line between two loopback ports that is as slow and as unreliable as it is told to be.

    python relay.py LISTEN_PORT TARGET_PORT [--delay MS] [--cut-after BYTES] [--cuts N] [--refuse N]...

prints the port it listens on (LISTEN_PORT 0: any). Each line on its stdin is a JSON object of options to change,
{} for none, and is answered by one line of JSON with the counts so far; it ends with its stdin.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CHUNK = 65536
IN_FLIGHT = 256  # chunks: far more than a line of 50 ms holds, so that only the delay is felt


@dataclass
class Options:
    """How the line behaves; names as on the command line."""

    delay: float = 0  # milliseconds, there and back
    cut_after: int = 0  # bytes from the server after which a connection is cut; 0: never
    cuts: int = -1  # how many connections are cut; -1: all
    rate: float = 0  # bytes a second from the server, of each connection; 0: no limit
    garbage_after: int = -1  # bytes from the server after which noise comes instead; -1: never
    refuse: list[int] = field(
        default_factory=list
    )  # which connections, counted from 1, are closed at once


@dataclass
class Counts:
    """What went over the line: connections (refused and cut ones too), and bytes each way."""

    connections: int = 0
    cut: int = 0
    to_server: int = 0
    from_server: int = 0


Queue = asyncio.Queue[
    tuple[float, bytes]
]  # when it is due at the other end, and what; b"" is the end


class Line:
    """The relay itself, in its own process."""

    def __init__(self, target: int, options: Options) -> None:
        self.target, self.options, self.counts = target, options, Counts()
        self.now = asyncio.get_running_loop().time

    async def connection(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        """Serve one connection to its end."""
        self.counts.connections += 1
        both = [to_client]
        try:
            if self.counts.connections in self.options.refuse:
                raise ConnectionRefusedError
            # A client may speak one round trip after it began to connect.
            await asyncio.sleep(self.options.delay / 1000)
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
            both.append(to_server)
            there, back = Queue(IN_FLIGHT), Queue(IN_FLIGHT)
            async with asyncio.TaskGroup() as group:
                for work in (
                    self.take(client, there),
                    self.deliver(there, to_server),
                    self.take(server, back, from_server=True),
                    self.deliver(back, to_client),
                ):
                    group.create_task(work)
        except* OSError:
            for writer in both:
                writer.transport.abort()
        finally:
            for writer in both:
                writer.close()

    async def take(
        self,
        source: asyncio.StreamReader,
        queue: Queue,
        from_server: bool = False,
    ) -> None:
        """Take in what comes from one end. Chunks are on their way side by side: delayed, not slowed."""
        data, passed = b"first", 0
        while data:
            data = await source.read(CHUNK)
            passed += len(data)
            if not from_server:
                self.counts.to_server += len(data)
            else:
                self.counts.from_server += len(data)
                if 0 < self.options.cut_after < passed and self.counts.cut != self.options.cuts:
                    self.counts.cut += 1
                    raise ConnectionAbortedError
                if 0 <= self.options.garbage_after < passed:
                    data = os.urandom(len(data))
                if self.options.rate:
                    await asyncio.sleep(len(data) / self.options.rate)
            await queue.put((self.now() + self.options.delay / 2000, data))

    async def deliver(self, queue: Queue, sink: asyncio.StreamWriter) -> None:
        """Hand over to the other end what is due there."""
        data = b"first"
        while data:
            due, data = await queue.get()
            if (wait := due - self.now()) > 0:
                await asyncio.sleep(wait)
            sink.write(data)
            await sink.drain()
        sink.write_eof()


async def serve(listen: int, target: int, options: Options) -> None:
    line = Line(target, options)
    tasks: set[asyncio.Task[None]] = set()  # asyncio itself holds on to none

    def accept(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(line.connection(client, to_client))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", listen)
    print(server.sockets[0].getsockname()[1], flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while command := await commands.readline():
        vars(line.options).update(json.loads(command))
        print(json.dumps(asdict(line.counts)), flush=True)
    os._exit(0)  # in the middle of whatever connections there are


class Relay:
    """A relay in a process of its own, for a `with`. `.port` leads to the target; Options may be given."""

    def __init__(self, target: int, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "0", str(target)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())
        self.set(**options)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=60)

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def set(self, **options: Any) -> Counts:
        """Change Options from now on; return the counts."""
        assert self.process.stdin
        print(json.dumps(options), file=self.process.stdin, flush=True)
        return Counts(**json.loads(self._line()))

    @property
    def counts(self) -> Counts:
        return self.set()


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A slow and unreliable line between two loopback ports."
    )
    parser.add_argument("listen", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("--delay", type=float, default=0, help="milliseconds, there and back")
    parser.add_argument(
        "--cut-after", type=int, default=0, help="bytes from the server, per connection"
    )
    parser.add_argument("--cuts", type=int, default=-1, help="how many connections are cut (all)")
    parser.add_argument(
        "--refuse", type=int, action="append", default=[], help="close this connection at once"
    )
    options = vars(parser.parse_args())
    asyncio.run(serve(options.pop("listen"), options.pop("target"), Options(**options)))


if __name__ == "__main__":
    main()

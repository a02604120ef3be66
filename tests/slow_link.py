"""A TCP proxy in its own process that delays the bytes of each direction: a server in another region."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


@contextmanager
def slow_link(endpoint: str, seconds: float) -> Iterator[str]:
    """Run a proxy to this endpoint that delays each direction by `seconds`; yield the endpoint of the proxy."""
    command = [sys.executable, "-m", "tests.slow_link", urlsplit(endpoint).netloc, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def _serve(server: str, seconds: float) -> None:
    host, _, port = server.partition(":")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # the delay of each piece starts when it arrives, so the bandwidth is unlimited
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        clock = asyncio.get_running_loop().time

        async def send() -> None:
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(due - clock())
                if not piece:
                    writer.close()
                    return
                writer.write(piece)

        sending = asyncio.create_task(send())
        while piece := await reader.read(1 << 16):
            pieces.put_nowait((clock() + seconds, piece))
        pieces.put_nowait((clock() + seconds, b""))
        await sending

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))
        except OSError:  # one side has closed its connection
            writer.close()

    listener = await asyncio.start_server(forward, "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2])))

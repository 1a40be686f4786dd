"""A policy service that knows nothing: asyncio, one answer for every request. What ours is compared with."""

from __future__ import annotations

import asyncio
import sys


class Noop(asyncio.Protocol):
    """Answers every request with DUNNO."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        *requests, self.buffer = (self.buffer + data).split(b"\n\n")
        self.transport.write(b"action=DUNNO\n\n" * len(requests))  # type: ignore[attr-defined]


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Noop, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

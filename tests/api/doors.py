"""Two doors to one application on real sockets: the lane with its till, and the lane without.

Without a till every byte goes to uvicorn's own parser, so that door is Litestar under uvicorn.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from uvicorn.config import Config
from uvicorn.server import ServerState

from core import embedded
from hotpath.lane import Lane
from tests.hotpath.eventually import eventually
from tests.patience import PATIENCE_S


class Door:
    def __init__(self, port: int, state: ServerState) -> None:
        self.port, self.state = port, state

    async def transcript(self, *pieces: bytes) -> bytes:
        """Say the pieces, each in a packet of its own, and hear everything until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        heard = b""
        async with asyncio.timeout(PATIENCE_S):
            # uvloop's word for a connection that is gone is a RuntimeError.
            with contextlib.suppress(ConnectionError, RuntimeError):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0.001 if len(pieces) > 1 else 0)
                while chunk := await reader.read(65_536):
                    heard += chunk
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return heard


@contextlib.asynccontextmanager
async def door(app, app_state, **limits) -> AsyncIterator[Door]:
    lane = type("ShortLane", (Lane,), limits)
    config = Config(app, http=lane, lifespan="off", log_config=None, ws="none")
    config.load()
    state, port = ServerState(), embedded.free_port()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: lane(config, state, app_state), "127.0.0.1", port)
    try:
        yield Door(port, state)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        await eventually(lambda: not state.connections and not state.tasks)

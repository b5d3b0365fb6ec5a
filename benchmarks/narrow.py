"""A slow road to Redis: what goes there passes at so many bytes a second, whoever sends it.

    python -m benchmarks.narrow LISTEN_PORT REDIS_PORT BYTES_PER_S

So a shop can be kept at a rate that a load on the same machine exceeds ten times. Answers come
back unhindered.
"""

import asyncio
import sys

import uvloop

# In turns of this size the connections share the road: none waits long behind another's batch.
TURN_BYTES = 2_048
CREDIT_S = 0.05


class Road:
    def __init__(self, *, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    async def pass_through(self, size: int) -> None:
        clock = asyncio.get_running_loop().time
        # Time in which this process had to wait for a core still counts.
        self._free_at = max(self._free_at, clock() - CREDIT_S) + size / self._bytes_per_s
        await asyncio.sleep(self._free_at - clock())


async def carry(reader, writer, road: Road | None) -> None:
    """Carry one direction to its end, and end the other side's reading with it."""
    try:
        while said := await reader.read(TURN_BYTES if road else 1 << 16):
            if road:
                await road.pass_through(len(said))
            writer.write(said)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def run(port: int, redis_port: int, *, bytes_per_s: float) -> None:
    road = Road(bytes_per_s=bytes_per_s)

    async def serve(reader, writer) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", redis_port, limit=TURN_BYTES)
        await asyncio.gather(carry(reader, ours, road), carry(theirs, writer, None))

    async with await asyncio.start_server(serve, "127.0.0.1", port, limit=TURN_BYTES) as server:
        await server.serve_forever()


if __name__ == "__main__":
    listen, target, speed = map(int, sys.argv[1:])
    uvloop.run(run(listen, target, bytes_per_s=speed))

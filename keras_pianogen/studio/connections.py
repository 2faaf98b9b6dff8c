"""The server's connections: a client that sends no request is dropped.

Uvicorn limits how many connections are open at the same time, but it waits
without end for the first request of each, and for the rest of a head that has
begun. Without this file, idle clients could keep everybody else out. Times are
in seconds.
"""

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT = 10.0


class PromptConnection(H11Protocol):
    """A connection that is closed if a request's head takes too long.

    The clock starts when the connection opens, and again when a later head
    begins. It stops when the head is complete. Between requests, Uvicorn's
    own keep-alive timeout holds.
    """

    _clock = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self._set_clock()

    def data_received(self, data):
        super().data_received(data)
        self._set_clock()

    def connection_lost(self, exc):
        self._stop_clock()
        super().connection_lost(exc)

    def _set_clock(self):
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_clock()
        elif self._clock is None:
            self._clock = self.loop.call_later(
                HEAD_TIMEOUT, self.transport.abort
            )

    def _stop_clock(self):
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


class Server(uvicorn.Server):
    """A server that ends all jobs before it waits for its answers to end.

    Args:
        config: a `uvicorn.Config`.
        close: a function without arguments, which ends all jobs.
    """

    def __init__(self, config, close):
        super().__init__(config)
        self._close = close

    async def shutdown(self, sockets=None):
        self._close()
        await super().shutdown(sockets)

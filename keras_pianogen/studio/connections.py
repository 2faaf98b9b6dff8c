"""The server's connections: a client that neither sends nor reads is dropped.

Uvicorn limits how many connections are open at the same time, but it waits
without end for the first request of each, for the rest of a head that has
begun, and for a client that doesn't read its answer. Without this file, idle
clients could keep everybody else out. Times are in seconds.
"""

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT = 10.0
READ_TIMEOUT = 60.0  # for some of an answer; the whole may take longer


class PromptConnection(H11Protocol):
    """A connection that is closed if the client keeps it waiting too long.

    The clock of a head starts when the connection opens, and again when a
    later head begins. It stops when the head is complete. Between requests,
    Uvicorn's own keep-alive timeout holds.
    """

    _clock = _reading = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self._set_clock()

    def data_received(self, data):
        super().data_received(data)
        self._set_clock()

    def connection_lost(self, exc):
        self._stop_clock()
        self._has_read()
        super().connection_lost(exc)

    def pause_writing(self):
        super().pause_writing()
        self._reading = self.loop.call_later(READ_TIMEOUT, self.transport.abort)

    def resume_writing(self):
        self._has_read()
        super().resume_writing()

    def _has_read(self):
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

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

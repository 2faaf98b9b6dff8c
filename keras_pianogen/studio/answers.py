"""The forms of the server's answers: JSON, and a job's reports as lines."""

import json

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.responses import StreamingResponse


async def refuse(request, error):
    if isinstance(error, HTTPException):
        sentence, status = error.detail, error.status_code
    else:
        sentence, status = str(error), getattr(error, "status", 400)
    headers = getattr(error, "headers", None)
    return as_json({"error": sentence}, status, headers)


def as_json(content, status=200, headers=None):
    """An answer in ASCII, which holds any text, lone surrogates too."""
    return Response(
        _line(content), status, headers, media_type="application/json"
    )


def _line(content):
    return json.dumps(content, separators=(",", ":")) + "\n"


class Lines(StreamingResponse):
    """Lines of a job's reports.

    Args:
        reports: an `asyncio.Queue` of dicts.
        end: a function that is called in the end, also if the client left
            before the first line.
    """

    def __init__(self, reports, end):
        super().__init__(_lines(reports), media_type="application/x-ndjson")
        self._end = end

    async def __call__(self, scope, receive, send):
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()


async def _lines(reports):
    while True:
        report = await reports.get()
        yield await run_in_threadpool(_line, report)
        if "end" in report or "error" in report:
            return


async def last(reports):
    """The last report of a job."""
    while True:
        report = await reports.get()
        if "end" in report or "error" in report:
            return report


async def left(request):
    """Wait until the client closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""The server of the page, with Starlette.

| path       | request                  | answer                              |
| ---------- | ------------------------ | ----------------------------------- |
| `/`, files |                          | the page                            |
| `/status`  |                          | JSON: state, presets and limits     |
| `/tones`   |                          | JSON: the piano, see `tones`        |
| `/tone`    | JSON: pitch and stroke   | a SoundFont's samples               |
| `/prompt`  | JSON: preset and notes   | JSON: its name; it is prefilled     |
| `/write`   | JSON, see `messages`     | lines of JSON, while it is written  |
| `/infill`  | JSON, see `messages`     | lines of JSON, while it is written  |
| `/duet`    | JSON, see `messages`     | lines of JSON, while it is played   |
| `/keys`    | JSON: a job's id, MIDI   | empty; a duet hears these keys      |
| `/stop`    | JSON: a job's id         | JSON: whether there is such a job   |
| `/read`    | a MIDI file's bytes      | JSON: notes, where they can go on   |
| `/midi`    | JSON: notes              | a MIDI file                         |
| `/wav`     | JSON: notes              | a WAV file                          |
| `/page`    | JSON, see `messages`     | a web page that plays and shows it  |

An error is JSON, `{"error": sentence}`, with a status of 4xx; or with 503, if
too many jobs wait already, or no sound could be made.
"""

import asyncio
import contextlib
import logging
import os
import pathlib
import queue
import tempfile

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.responses import Response
from starlette.routing import Route

from keras_pianogen.rendering import fluidsynth
from keras_pianogen.rendering import synthesis
from keras_pianogen.rendering.sampled_tones import sampled_piano
from keras_pianogen.rendering.tones import piano_json
from keras_pianogen.studio import answers
from keras_pianogen.studio import controls
from keras_pianogen.studio import fields
from keras_pianogen.studio import messages
from keras_pianogen.studio import opening
from keras_pianogen.studio import sliders
from keras_pianogen.studio.composer import Composer
from keras_pianogen.studio.duets import PageKeys
from keras_pianogen.studio.guard import MAX_BODY
from keras_pianogen.studio.guard import MAX_PIECE
from keras_pianogen.studio.guard import Guard
from keras_pianogen.studio.guard import Refused
from keras_pianogen.studio.guard import check_type
from keras_pianogen.studio.guard import read_body
from keras_pianogen.studio.jobs import MAX_WAITING
from keras_pianogen.studio.jobs import TIMEOUT
from keras_pianogen.studio.jobs import Busy
from keras_pianogen.studio.jobs import Worker
from keras_pianogen.studio.prompts import Prompts

PAGE = pathlib.Path(__file__).parent / "page"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MAX_WAV_SECONDS = 3_600.0  # 0.6 GB, and 1.3 GB of memory while it is made

logger = logging.getLogger(__name__)


def make_app(
    presets,
    *,
    soundfont=None,
    host="127.0.0.1",
    token=None,
    max_waiting=MAX_WAITING,
    timeout=TIMEOUT,
):
    """Make the studio, an ASGI application.

    Args:
        presets: list of names or folders of presets. The first is loaded and
            compiled when the application starts, the others when a page
            chooses them.
        soundfont: what the page and its WAV files sound with, see
            `synthesis.render`.
        host: str. The address that the server is bound to.
        token: str or `None`. A secret that a page must have.
        max_waiting: int. The most jobs that may wait.
        timeout: float. The most seconds of a job, other than a duet.

    Returns:
        An ASGI application, to be run by uvicorn.
    """
    studio = _Studio(Composer(presets), soundfont, max_waiting, timeout)
    files = {f"/{path.name}": path for path in sorted(PAGE.iterdir())}
    files["/"] = files.pop("/index.html")
    app = Starlette(
        routes=[
            *(Route(place, _file(path)) for place, path in files.items()),
            Route("/status", studio.status),
            Route("/tones", studio.tones),
            Route("/tone", studio.tone, methods=["POST"]),
            Route("/prompt", studio.prompt, methods=["POST"]),
            Route("/write", studio.write, methods=["POST"]),
            Route("/infill", studio.infill, methods=["POST"]),
            Route("/duet", studio.duet, methods=["POST"]),
            Route("/keys", studio.keys, methods=["POST"]),
            Route("/stop", studio.stop, methods=["POST"]),
            Route("/read", studio.read, methods=["POST"]),
            Route("/midi", studio.midi, methods=["POST"]),
            Route("/wav", studio.wav, methods=["POST"]),
            Route("/page", studio.page, methods=["POST"]),
        ],
        exception_handlers={
            Refused: answers.refuse,
            fields.BadMessage: answers.refuse,
            HTTPException: answers.refuse,
        },
        lifespan=studio.lifespan,
    )
    return Guard(app, host, token, open_paths=files, close=studio.close)


class _Studio:
    """Answers the page's requests.

    Args:
        composer: a `Composer`.
        soundfont: see `make_app`.
        max_waiting: see `make_app`.
        timeout: see `make_app`.
    """

    def __init__(self, composer, soundfont, max_waiting, timeout):
        self.composer = composer
        self._soundfont = soundfont
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._worker = None
        self._prompts = Prompts()
        self._duets = {}  # the `PageKeys` of each, by its job's id
        self._listening = set()  # A queue of reports for each open answer.

    @contextlib.asynccontextmanager
    async def lifespan(self, app):
        self._worker = Worker(
            self.composer.preparations,
            max_waiting=self._max_waiting,
            timeout=self._timeout,
        )
        try:
            yield
        finally:
            self.close()

    def close(self):
        """Stop all jobs, and end the answers that wait for them."""
        if self._worker is not None:
            self._worker.close()
        for reports in self._listening:
            reports.put_nowait({"end": "stopped"})

    async def status(self, request):
        return answers.as_json(
            {
                "state": self.composer.state,
                "step": self.composer.step,
                "failure": self.composer.failure,
                "loaded": self.composer.loaded,
                "presets": self.composer.presets,
                "controls": {
                    preset: controls.controls_of(preset)
                    for preset in self.composer.presets
                },
                "fill_gaps": [
                    preset
                    for preset in self.composer.presets
                    if controls.fills_gaps(preset)
                ],
                "backend": os.environ.get("KERAS_BACKEND") or "tensorflow",
                "max_candidates": fields.MAX_CANDIDATES,
                "max_bytes": MAX_BODY,
                "max_wav_seconds": MAX_WAV_SECONDS,
            }
        )

    async def tones(self, request):
        """The piano that the page plays."""
        content = await run_in_threadpool(self._piano_json)
        return Response(content, media_type="application/json")

    def _piano_json(self):
        try:
            font = fluidsynth.choose_soundfont(self._soundfont)
            return piano_json() if font is None else sampled_piano(font).json()
        except (OSError, ValueError) as error:
            logger.warning("The page plays the built-in piano: %s", error)
            return piano_json()

    async def tone(self, request):
        """One tone of the SoundFont, for the page to play."""
        pitch, hard = await _read(request, messages.read_tone)
        try:
            content = await run_in_threadpool(self._samples, pitch, hard)
        except (OSError, ValueError) as error:
            raise Refused(503, str(error)) from None
        return Response(content, media_type="application/octet-stream")

    def _samples(self, pitch, hard):
        font = fluidsynth.choose_soundfont(self._soundfont)
        if font is None:
            raise Refused(404, "The page plays the built-in piano.")
        return sampled_piano(font).samples(pitch, hard)

    async def prompt(self, request):
        """Prefill a prompt that the page may soon continue."""
        wish = await _read(request, messages.read_prompt, self.composer.presets)
        self._worker.foresee(lambda job: self.composer.read(wish, job))
        return answers.as_json({"prompt": self._prompts.keep(wish)}, 202)

    async def write(self, request):
        wish = await _read(
            request, messages.read_wish, self.composer.presets, self._prompts
        )
        return self._stream(lambda job: self.composer.write(wish, job))

    async def infill(self, request):
        gap = await _read(request, messages.read_gap, self.composer.presets)
        return self._stream(lambda job: self.composer.fill(gap, job))

    def _stream(self, work, keys=None):
        """The answer of a job whose reports are sent as they come."""
        job, reports = self._submit(work)
        if keys is not None:
            self._duets[job.id] = keys
        return answers.Lines(reports, lambda: self._end(job, reports))

    async def duet(self, request):
        """Play a duet; what the partner does comes as a stream of lines."""
        preset, takeover = await _read(
            request, messages.read_duet, self.composer.presets
        )
        keys = PageKeys()
        return self._stream(
            lambda job: self.composer.duet(preset, takeover, keys, job), keys
        )

    async def keys(self, request):
        """What is played on the page, for a duet."""
        job_id, midi = await _read(request, messages.read_keys)
        keys = self._duets.get(job_id)
        if keys is None:
            raise Refused(404, "The duet is over.")
        try:
            for message in midi:
                keys.put(message)
        except queue.Full:
            raise Refused(429, "Too many keys wait to be heard.") from None
        return answers.as_json({}, 202)

    async def stop(self, request):
        job_id = await _read(request, messages.read_job)
        return answers.as_json({"stopped": self._worker.stop(job_id)})

    async def read(self, request):
        check_type(request, "audio/midi")
        body = await read_body(request)
        answer = await run_in_threadpool(opening.read, body)
        return answers.as_json(answer)

    async def midi(self, request):
        piece = await _read(request, messages.read_piece, limit=MAX_PIECE)
        data = await run_in_threadpool(piece.to_bytes)
        return Response(data, media_type="audio/midi")

    async def page(self, request):
        """A piece as a web page of its own, to be kept or sent."""
        piece, about = await _read(
            request, messages.read_shared, limit=MAX_PIECE
        )
        page = await run_in_threadpool(lambda: piece.to_page(**about))
        return Response(page, media_type="text/html")

    async def wav(self, request):
        piece = await _read(request, messages.read_piece, limit=MAX_PIECE)
        if piece.notes["end"].max() > MAX_WAV_SECONDS:
            raise Refused(
                400, f"A WAV file may last {MAX_WAV_SECONDS:,.0f} seconds."
            )
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = pathlib.Path(folder) / "piece.wav"

            def render(job):
                synthesis.render(
                    piece.notes,
                    path,
                    soundfont=self._soundfont,
                    pedal=piece.spans,
                    moves=piece.moves,
                    pedalled=piece.is_own,
                    progress=lambda _: job.check(),
                )

            await self._finish(request, render)
            return FileResponse(
                path,
                media_type="audio/wav",
                background=BackgroundTask(stack.pop_all().close),
            )

    async def _finish(self, request, work):
        """Wait until a job is done, or stop it as soon as the client leaves."""
        job, reports = self._submit(work)
        waited = answers.last(reports), answers.left(request)
        end, left = map(asyncio.ensure_future, waited)
        try:
            await asyncio.wait((end, left), return_when=asyncio.FIRST_COMPLETED)
            if not end.done():
                raise Refused(499, "The client left.")
            if "error" in end.result():
                raise Refused(503, end.result()["error"])
            if end.result()["end"] != "done":
                raise Refused(503, "It was stopped.")
        finally:
            for waiting in (end, left):
                waiting.cancel()
            self._end(job, reports)

    def _submit(self, work):
        """Submit a job; returns it and the queue of its reports."""
        loop, reports = asyncio.get_running_loop(), asyncio.Queue()

        def report(message):
            # The server may have ended, and with it the loop.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(reports.put_nowait, message)

        try:
            job = self._worker.submit(work, report)
        except Busy:
            raise Refused(
                503, "Too many pieces wait already. Try again later."
            ) from None
        self._listening.add(reports)
        return job, reports

    def _end(self, job, reports):
        self._duets.pop(job.id, None)
        self._listening.discard(reports)
        self._worker.stop(job.id)


async def _read(request, read, *arguments, limit=MAX_BODY):
    """Read a request's JSON with a function of `messages`.

    The function runs in a thread of its own, because the check of 60,000
    notes would keep all other clients waiting.
    """
    check_type(request, "application/json")
    body = await read_body(request, limit)
    return await run_in_threadpool(
        lambda: read(fields.read_json(body), *arguments)
    )


def _file(path):
    """An endpoint that answers with a file of the page."""
    data, kind = path.read_bytes(), TYPES[path.suffix]
    data = data.replace(b"<!-- controls -->", sliders.render().encode())

    async def answer(request):
        return Response(data, headers={"content-type": kind})

    return answer

"""The studio in Debian's headless Chromium, as somebody uses it."""

import functools
import html
import shlex
import time
import wave

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")
pytest.importorskip("playwright.sync_api")

from studio_pages import DONE  # noqa: E402
from studio_pages import ON_THE_PAGE  # noqa: E402
from studio_pages import WATCH  # noqa: E402
from studio_pages import choose  # noqa: E402
from studio_pages import cursor_of  # noqa: E402
from studio_pages import expect  # noqa: E402
from studio_pages import once  # noqa: E402
from studio_pages import open_pedalled  # noqa: E402
from studio_pages import play_notes  # noqa: E402
from studio_pages import write  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from keras_pianogen import cli  # noqa: E402
from keras_pianogen.generation import emptiness  # noqa: E402
from keras_pianogen.midi.reading import read_notes  # noqa: E402
from keras_pianogen.midi.writing import write_midi  # noqa: E402
from keras_pianogen.notes import NOTE_DTYPE  # noqa: E402

pytest_plugins = ["studio_server", "studio_pages"]
pytestmark = ON_THE_PAGE


def test_music_is_written_heard_continued_and_undone(open_page, pace):
    page = open_page()
    play_notes(page)
    write(page, candidates=1)  # Compiled from here on.
    page.locator(".discard").click()
    pace["seconds"] = 0.2
    choose(page, seconds=10, candidates=2)
    page.evaluate(WATCH, ".card .about")
    page.locator("#write").click()
    about = page.locator(".card .about").first
    expect(about).not_to_contain_text(" 0 notes", **DONE)

    roll = page.locator(".card .roll").first
    heard = functools.partial(page.evaluate, "heard()")
    once(page, heard, lambda sound: sound[1] > 0.001)  # There is sound,
    clock, cursor = heard()[0], cursor_of(roll)
    once(page, heard, lambda sound: sound[0] > clock)  # its clock goes on,
    once(
        page, lambda: cursor_of(roll), lambda now: now > cursor
    )  # as does this.

    pace["seconds"] = 0.0
    expect(page.locator("#progress")).to_contain_text("Done", **DONE)
    assert page.evaluate("told.size") >= 3  # The roll grew.
    # The name of one that is gone is not given again.
    names = ["Candidate 2", "Candidate 3"]
    expect(page.locator(".card h3")).to_have_text(names)
    page.locator(".card .continue").nth(1).click()
    expect(page.locator("#piece-about")).to_contain_text("Candidate")
    expect(page.locator(".card")).to_have_count(0)
    write(page, candidates=3)
    expect(page.locator(".card")).to_have_count(3)
    page.locator("#undo").click()
    expect(page.locator("#piece-about")).to_contain_text("Played: 4 notes")
    expect(page.locator(".card")).to_have_count(2)
    page.locator("#redo").click()
    expect(page.locator(".card")).to_have_count(3)


def test_a_download_and_the_copied_command_are_the_same_piece(
    open_page, tmp_path, monkeypatch
):
    # A nearly empty piece is drawn again, but not while it is heard.
    monkeypatch.setattr(emptiness, "fill", lambda made, *_: made)
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    open_pedalled(page, tmp_path)
    page.locator("#handle").focus()
    page.keyboard.press("ArrowLeft")
    write(page, candidates=1)
    files = []
    for button in ("#piece-midi", ".card .midi"):
        with page.expect_download() as download:
            page.locator(button).click()
        files.append(tmp_path / download.value.suggested_filename)
        download.value.save_as(files[-1])
    page.locator(".card .command").click()
    expect(page.locator("#toast")).to_contain_text("Copied")
    command = page.evaluate("navigator.clipboard.readText()")
    with page.expect_download() as download:
        page.locator(".card .page").click()
    shared = download.value.path().read_text()
    assert f'class="command">{html.escape(command)}</dd>' in shared
    assert download.value.suggested_filename == f"{files[1].stem}.html"
    backend, program, *arguments = shlex.split(command)
    assert program == "pianogen" and "--prompt-seconds" in arguments
    monkeypatch.chdir(tmp_path)
    downloaded = files[1].rename(tmp_path / "downloaded.mid").read_bytes()
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert files[1].read_bytes() == downloaded
    files[1].unlink()

    page.locator(".card .python").click()
    deadline, code = time.monotonic() + 30, command
    while code == command:
        assert time.monotonic() < deadline
        code = page.evaluate("navigator.clipboard.readText()")
    exec(compile(code, "copied", "exec"), {})
    assert files[1].read_bytes() == downloaded


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_core_finds_no_serious_fault(open_page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    play_notes(page)
    write(page, candidates=1)
    page.locator("#tool-edit").check(force=True)
    for summary in page.locator("summary:visible").all():
        summary.click()
    page.keyboard.press("[")
    found = axe.run(page).response["violations"]
    assert [
        (fault["id"], [node["html"] for node in fault["nodes"]])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ] == []


def test_what_is_held_is_in_the_download_whose_name_is_its_own(
    open_page, tmp_path
):
    names = set()
    for letter in "ad":
        page = open_page()
        page.locator("#keys button").first.focus()
        page.keyboard.down(letter)
        with page.expect_download() as download:
            page.locator("#piece-midi").click()
        download.value.save_as(tmp_path / "held.mid")
        assert len(read_notes(tmp_path / "held.mid")) == 1
        names.add(download.value.suggested_filename)
    assert len(names) == 2


def test_a_wav_file_is_downloaded(open_page, tmp_path):
    page = open_page()
    play_notes(page)
    with page.expect_download(**DONE) as download:
        page.locator("#piece-wav").click()
    download.value.save_as(tmp_path / "piece.wav")
    with wave.open(str(tmp_path / "piece.wav")) as file:
        assert file.getnframes() > file.getframerate()


def test_a_broken_file_is_explained_and_a_good_one_read(open_page, tmp_path):
    page = open_page()
    broken = tmp_path / "broken.mid"
    broken.write_bytes(b"This is no MIDI file.")
    page.locator("#file").set_input_files(broken)
    toast = page.locator("#toast")
    expect(toast).to_contain_text("broken.mid: It is not a MIDI file")
    expect(toast).to_contain_text("begins with 'MThd'")
    expect(page.locator("#hint")).to_be_visible()
    play_notes(page)
    with page.expect_download() as download:
        page.locator("#piece-midi").click()
    good = tmp_path / "good.mid"
    download.value.save_as(good)
    write_midi(read_notes(good)[:3], good)
    with page.expect_response("**/prompt") as read_ahead:
        page.locator("#file").set_input_files(good)
    expect(page.locator("#piece-about")).to_contain_text("good.mid: 3 notes")
    assert read_ahead.value.status == 202
    page.locator("#undo").click()
    expect(page.locator("#piece-about")).to_contain_text("Played: 4 notes")


DROP = """([name, bytes]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
  document.querySelector("#piece-roll").dispatchEvent(
    new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


def test_a_dropped_file_is_read_and_what_can_t_be_had_is_said(
    open_page, tmp_path
):
    page = open_page()
    notes = [(0, 1, 60, 80), (3700, 3701, 62, 80)]
    path = tmp_path / "violin.mid"
    write_midi(np.array(notes, NOTE_DTYPE), path, program=40)
    page.evaluate(DROP, [path.name, list(path.read_bytes())])
    about = page.locator("#piece-about")
    expect(about).to_contain_text("violin.mid: 2 notes")
    expect(page.locator("#toast")).to_contain_text("2 notes of other instrum")
    expect(page.locator("#piece-wav")).to_be_disabled()
    expect(page.locator("#piece-wav")).to_have_text("WAV: 60 minutes at most")


def test_the_piano_is_played_by_mouse_and_by_touch(open_page):
    page = open_page(has_touch=True)
    first, second = (page.locator(f"[data-pitch='{p}']") for p in (60, 62))
    first.hover()
    page.mouse.down()
    expect(first).to_have_class("white down")
    second.hover()  # A glissando.
    expect(first).to_have_class("white")
    expect(second).to_have_class("white down")
    page.mouse.up()
    expect(second).to_have_class("white")
    expect(page.locator("#piece-about")).to_contain_text("2 notes")
    first.tap()
    expect(page.locator("#piece-about")).to_contain_text("3 notes")
    expect(first).to_have_class("white")


def test_settings_are_the_server_s_and_another_preset_is_said_to_load(
    open_page,
    preset,
    notes_preset,
):
    page = open_page()
    expect(page.locator("#seconds")).to_have_attribute("max", "120")
    expect(page.locator("#candidates option")).to_have_text(list("1234"))
    expect(page.locator("#piano")).to_have_text("Sounds as the built-in piano")
    options = page.locator("#preset option")
    names = ["/".join(str(p).split("/")[-2:]) for p in (preset, notes_preset)]
    expect(options).to_have_text(names)
    page.locator("#preset").select_option(names[1])
    page.evaluate(WATCH, "#progress")
    write(page, candidates=1)
    assert f"{names[1]} is loading …" in page.evaluate("[...told]")


def test_two_tabs_at_once_both_get_music(open_page, pace):
    pages = [open_page(), open_page()]
    pace["seconds"] = 0.5
    for page in pages:
        choose(page, seconds=10)
        page.locator("#write").click()
    expect(pages[1].locator("#progress")).to_contain_text("Waiting")
    pace["seconds"] = 0.0
    for page in pages:
        expect(page.locator("#progress")).to_contain_text("Done", **DONE)
        expect(page.locator(".card")).to_have_count(2)


def test_a_stop_ends_the_writing(open_page, pace):
    page = open_page()
    write(page, candidates=1)
    page.locator(".discard").click()
    pace["seconds"] = 0.1
    choose(page, seconds=60, candidates=4)
    page.locator("#write").click()
    expect(page.locator(".card .about")).to_contain_text("notes", **DONE)
    page.locator("#stop").click()
    expect(page.locator("#progress")).to_have_text("Stopped.", timeout=5000)
    expect(page.locator("#write")).to_be_enabled()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".card .about")).to_contain_text("stopped")


def test_a_midi_keyboard_plays_with_its_pedal(open_page):
    page = open_page()
    page.locator("#use-midi").click()
    expect(page.locator("#midi-state")).to_have_text("Listening to Toy keys")
    for message in ([0x90, 60, 99], [0xB0, 64, 127], [0x80, 60, 0]):
        page.evaluate("data => keyboard.onmidimessage({ data })", message)
    expect(page.locator("[data-pitch='60']")).to_have_class("white down")
    page.evaluate("data => keyboard.onmidimessage({ data })", [0xB0, 64, 0])
    expect(page.locator("[data-pitch='60']")).to_have_class("white")
    expect(page.locator("#piece-about")).to_contain_text("1 note,")
    page.evaluate("data => keyboard.onmidimessage({ data })", [0x90, 62, 99])
    expect(page.locator("[data-pitch='62']")).to_have_class("white down")
    page.evaluate(
        "() => access.onstatechange("
        "{ port: { type: 'output', state: 'disconnected' } })"
    )
    expect(page.locator("[data-pitch='62']")).to_have_class("white down")
    page.evaluate(
        "() => { keyboard.state = 'disconnected'; "
        "access.onstatechange({ port: keyboard }); }"
    )
    expect(page.locator("[data-pitch='62']")).to_have_class("white")
    expect(page.locator("#midi-state")).to_contain_text("plug one in")


def test_everything_is_reached_by_the_keyboard_alone(open_page):
    page, reached = open_page(), set()
    play_notes(page)
    write(page, candidates=1)
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.id || document.activeElement.className"
            ).partition(" ")[0]
        )
    wanted = {"piece-roll", "piece-play", "file", "undo", "to-cursor"}
    wanted |= {"handle", "typing", "save-work"}
    wanted |= {"preset", "seconds", "temperature", "candidates", "seed"}
    wanted |= {"write", "roll", "play", "continue", "midi", "command"}
    assert wanted <= reached
    page.locator(".card .roll").focus()
    page.keyboard.press("Home")
    before = page.locator(".card .roll").get_attribute("aria-valuenow")
    for key, step in (("ArrowRight", 0.1), ("Shift+ArrowRight", 1)):
        page.keyboard.press(key)
        after = page.locator(".card .roll").get_attribute("aria-valuenow")
        assert float(after) == pytest.approx(float(before) + step)
        before = after


def test_controls_have_names_and_one_tab_plays_at_a_time(open_page):
    page = open_page()
    for name in ("Length", "Temperature", "Zoom in", "New music begins here"):
        expect(page.get_by_label(name, exact=True)).to_have_count(1)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, "
          + "[role=slider]")].filter((x) => !(x.ariaLabel || x.title
          || x.textContent.trim() || x.labels?.[0]?.textContent.trim()))
          .map((x) => x.outerHTML)"""
    )
    assert nameless == []
    page.locator("#seed").fill("seven")
    page.locator("#write").click()
    assert "whole number" in page.locator("#seed").evaluate(
        "x => x.validationMessage"
    )
    play_notes(page)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#state")).to_contain_text("Ready")
    other.locator("#keys button").first.focus()
    other.keyboard.press("a", delay=3000)
    page.bring_to_front()
    page.locator("#piece-roll").press("Home")
    page.locator("#piece-play").click()
    expect(page.locator("#keys .lit")).to_have_count(1)
    other.locator("#piece-play").click()
    expect(page.locator("#piece-play")).to_have_attribute(
        "aria-label", "Play your piece"
    )
    expect(page.locator("#keys .lit")).to_have_count(0)


def test_the_softest_notes_stand_out_of_the_roll(open_page):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [
            x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
            for x in parts
        ]
        return np.dot([0.2126, 0.7152, 0.0722], linear)

    page = open_page()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        soft, given, *grounds = page.evaluate(
            """() => ["soft", "given-soft", "roll", "roll-black"].map((name) =>
              getComputedStyle(document.documentElement)
              .getPropertyValue(`--${name}`).trim())"""
        )
        for colour in (soft, given):
            for ground in grounds:
                pair = sorted([luminance(colour), luminance(ground)])
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3


def test_a_phone_that_lies_shows_the_roll_and_the_keys(open_page):
    page = open_page(viewport={"width": 844, "height": 390}, has_touch=True)
    roll, keys = (
        page.locator(x).bounding_box() for x in ("#piece-roll", "#keys")
    )
    assert roll["y"] >= 0 and roll["height"] >= 100
    assert roll["y"] + roll["height"] < keys["y"]
    assert keys["y"] + keys["height"] <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_in_its_width(open_page, scheme):
    page = open_page(
        viewport={"width": 390, "height": 844}, color_scheme=scheme
    )
    play_notes(page)
    write(page, candidates=1)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == 390
    small = page.evaluate(
        "[...document.querySelectorAll('button:not(#keys *)')]"
        ".filter(x => x.offsetParent && x.offsetHeight < 30).length"
    )
    assert small == 0
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (
        ground
        == {
            "light": "rgb(244, 243, 239)",
            "dark": "rgb(18, 21, 29)",
        }[scheme]
    )


def test_a_duet_answers_at_space_and_stops_at_a_key(open_page):
    page = open_page()
    failed = []
    page.on("response", lambda x: x.status < 400 or failed.append(x.url))
    play_notes(page)
    write(page, seconds=1, candidates=1)
    state = page.locator("#duet-state")
    page.locator("#takeover").select_option("signal")
    asked = []
    page.route("**/duet", lambda route: asked.append(route))
    page.locator("#duet-go").click()
    page.keyboard.down("a")  # A note without an end, for a while.
    expect(state).to_contain_text("does not hear you yet")
    expect(page.locator("#piece-about")).to_contain_text("Duet: 1 note,")
    asked.pop().continue_()
    expect(state).to_have_text("The partner listens.", **DONE)
    page.keyboard.up("a")
    for letter in "adg":
        page.keyboard.press(letter)
    page.keyboard.press(" ")
    expect(state).to_contain_text("answers", **DONE)
    expect(page.locator("#piece-about")).not_to_contain_text(" 4 notes", **DONE)
    expect(page.locator(".lit").first).to_be_attached(**DONE)
    page.keyboard.down("k")
    expect(state).to_have_text("The partner listens.", **DONE)
    expect(page.locator(".lit")).to_have_count(0)
    page.keyboard.up("k")
    page.locator("#duet-go").click()
    expect(page.locator("#duet-go")).to_have_text("Play a duet", **DONE)
    expect(page.locator("#piece-about")).to_contain_text("Duet")
    expect(page.locator(".card")).to_have_count(1)
    page.locator("#undo").click()
    expect(page.locator("#piece-about")).to_contain_text("Played: 4 notes")
    expect(page.locator(".card")).to_have_count(1)
    assert not failed

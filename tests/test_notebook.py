"""Pieces in a notebook: the page holds both picture and sound."""

import base64
import io
import re
import wave
import xml.etree.ElementTree

import numpy as np
import pytest

import keras_pianogen
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.rendering import notebook
from keras_pianogen.rendering.notebook import show
from keras_pianogen.rendering.synthesis import synthesize

pytestmark = pytest.mark.one_backend

NOTES = np.array([(0, 1, 60, 64), (0.5, 2, 67, 96)], NOTE_DTYPE)
# XML namespaces look like addresses, but nothing is fetched from them.
NAMESPACE = re.compile(r'xmlns(:\w+)?="[^"]*"')


def page(*args, **kwargs):
    return show(*args, **kwargs)._repr_html_()


def element(html):
    return xml.etree.ElementTree.fromstring(html)


def sound_of(html):
    """Samples and sample rate of the page's sound."""
    (audio,) = element(html).iter("audio")
    data = audio.get("src").removeprefix("data:audio/wav;base64,")
    file = io.BytesIO(base64.b64decode(data, validate=True))
    with wave.open(file, "rb") as reader:
        assert (reader.getnchannels(), reader.getsampwidth()) == (1, 2)
        samples = np.frombuffer(reader.readframes(10**9), "<i2")
        return samples, reader.getframerate()


def ids_of(html):
    return {e.get("id") for e in element(html).iter() if e.get("id")}


def test_a_page_holds_one_picture_and_its_sound():
    root = element(page(NOTES, title="A piece"))
    assert root.tag == "figure"
    tags = [child.tag.rpartition("}")[2] for child in root]
    assert tags == ["figcaption", "svg", "audio"]
    assert root[0].text == "A piece"


def test_the_sound_is_the_built_in_pianos_in_mono():
    samples, rate = sound_of(page(NOTES))
    expected = synthesize(NOTES, rate).mean(axis=1)
    np.testing.assert_allclose(samples / 32767, expected, atol=1 / 32767)


def test_a_page_loads_nothing_from_the_network():
    title = "See http://example.com"
    html = NAMESPACE.sub("", page(NOTES, title=title)).replace(title, "")
    assert "//" not in re.sub(r"base64,[^\"]*", "", html)
    assert "<script" not in html and "@import" not in html
    for name in ("src", "href"):
        for value in re.findall(rf'\b{name}="([^"]*)"', html):
            assert value.startswith(("data:", "#"))


def test_the_same_notes_give_the_same_page():
    assert page(NOTES, title="A") == page(NOTES[::-1], title="A")


def test_two_pictures_share_no_ids():
    assert not ids_of(page(NOTES, title="A piece", prompt_seconds=0.4))


def test_outside_a_notebook_a_piece_is_one_line():
    assert repr(show(NOTES)) == "<2 notes, 2.0 s>"
    assert repr(show(NOTES, title="A\nB")) == "<A B: 2 notes, 2.0 s>"


def test_no_notes_are_a_sentence_and_not_an_error():
    view = show(NOTES[:0], title="<b>Bold</b>")
    assert repr(view) == "<<b>Bold</b>: 0 notes, 0.0 s>"
    text = "".join(element(view._repr_html_()).itertext())
    assert text == "<b>Bold</b>: no notes to show."


def test_markup_in_a_title_is_text():
    html = page(NOTES, title='<script>alert("--> &")</script>')
    assert "<script" not in html
    assert '"--> &"' in "".join(element(html).itertext())


def test_what_is_longer_is_heard_in_part_and_a_sentence_says_so(monkeypatch):
    monkeypatch.setattr(notebook, "MAX_SOUND", 1.0)
    html = page(np.append(NOTES, np.array([(5, 6, 62, 64)], NOTE_DTYPE)))
    samples, rate = sound_of(html)
    assert 1 < len(samples) / rate < 3
    assert "render" in "".join(element(html).itertext())
    assert "only" not in page(NOTES[:1])


def test_a_piece_that_begins_later_than_its_sound_has_none(monkeypatch):
    monkeypatch.setattr(notebook, "MAX_SOUND", 1.0)
    late = np.array([(5, 6, 62, 64)], NOTE_DTYPE)
    html = page(late)
    assert "<audio" not in html and "render" in html


def test_the_view_keeps_notes_of_its_own():
    notes = NOTES.copy()
    view = show(notes)
    notes["pitch"] = 1
    assert view._repr_html_() == page(NOTES)


def test_the_pedal_is_drawn_where_there_is_one():
    pedal = np.array([(0, 1.5)], PEDAL_DTYPE)
    assert "pedal is pressed once" in page(NOTES, pedal=pedal)
    assert "pedal" not in page(NOTES)
    with pytest.raises(ValueError, match="`pedal` must"):
        show(NOTES, pedal=[0, 1])


def test_it_is_a_public_name():
    assert keras_pianogen.show is show


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_prompt_out_of_its_range_is_refused_at_once(seconds):
    with pytest.raises(ValueError, match="`prompt_seconds` must"):
        show(NOTES, prompt_seconds=seconds)


def test_what_is_not_notes_is_refused_at_once():
    with pytest.raises(ValueError, match="`notes` must"):
        show([1, 2, 3])

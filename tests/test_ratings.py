"""Ratings of listeners, and the report with its intervals."""

import base64
import xml.etree.ElementTree

import numpy as np
import pytest
from listening_pages import CONDITIONS
from listening_pages import TASTES
from listening_pages import judged
from listening_pages import make
from listening_pages import save
from scipy import stats

from keras_pianogen.judging.statistics import wilson
from keras_pianogen.listening import Key
from keras_pianogen.listening import read_ratings
from keras_pianogen.listening import report
from keras_pianogen.listening import simulate_listeners
from keras_pianogen.listening.picture import plot_report
from keras_pianogen.listening.report import compare_pairs
from keras_pianogen.listening.report import count

pytest_plugins = ["listening_pages"]
pytestmark = pytest.mark.one_backend


# Ratings.


def test_ratings_are_read_whatever_their_order(key, tmp_path):
    listeners = simulate_listeners(key, TASTES, 5, seed=3)
    assert listeners[0]["order"] != listeners[1]["order"]
    read = read_ratings([save(listeners, tmp_path / "sent")], key)
    assert read.simulated and len(read.listeners) == 5
    expected = judged(key, TASTES, 5, seed=3)
    np.testing.assert_array_equal(read.quality, expected.quality)
    np.testing.assert_array_equal(read.inspiring, expected.inspiring)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda v: v.update(study="other"), "0.json belongs to another page"),
        (lambda v: v.update(version=2), "0.json is not a file of ratings"),
        (lambda v: v.pop("listener"), "0.json is broken"),
        (lambda v: v["ratings"].pop(), "0.json is not whole: 8 of 9"),
        (lambda v: v["ratings"].append(v["ratings"][0]), "rated twice"),
        (lambda v: v["ratings"][0].update(item="x"), "no sound of the page"),
        (lambda v: v["ratings"][0].update(quality="fine"), "0.json is broken"),
        (lambda v: v["ratings"][0].update(inspiring=1), "0.json is broken"),
        (lambda v: v["ratings"].insert(0, 3), "0.json is broken"),
        (lambda v: v.update(simulated=False), "1.json is of a simulated"),
        (
            lambda v: v.update(listener="simulated-0-1"),
            "1.json is of the same listener as .*0.json",
        ),
    ],
)
def test_files_that_do_not_fit_are_named_and_refused(
    key, tmp_path, change, words
):
    listeners = simulate_listeners(key, TASTES, 3)
    change(listeners[0])
    folder = save(listeners, tmp_path / "sent")
    with pytest.raises(ValueError, match=words):
        read_ratings([folder], key)


def test_files_that_are_no_json_are_named_and_refused(key, tmp_path):
    for text in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"0" * 10**7):
        path = tmp_path / "sent.json"
        path.write_bytes(text)
        with pytest.raises(ValueError, match="sent.json is "):
            read_ratings([path], key)
        with pytest.raises(ValueError, match="sent.json is "):
            Key.read(path)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="must be files that the page saved"):
        read_ratings([tmp_path / "none"], key)


# The report.


def test_wilson_intervals_are_scipys_and_the_papers():
    """Of 10 people 5, 4 and 1; 6 found it inspiring (figure 11)."""
    for said in (0, 1, 4, 5, 6, 10):
        expected = stats.binomtest(said, 10).proportion_ci(method="wilson")
        assert wilson(said / 10, 10) == pytest.approx(tuple(expected))
        share = count((np.arange(10) < said)[:, None])
        assert (share.low, share.high) == pytest.approx(tuple(expected))


def test_simulated_tastes_are_found_again(key):
    """With many listeners the shares are the tastes, and the pairs differ."""
    found = report(judged(key, TASTES, 400, spread=0.3, seed=1))
    for condition, tastes in TASTES.items():
        for answer, chance in zip(found.shares[condition], tastes):
            share = found.shares[condition][answer]
            assert abs(share.share - chance) < 0.06
            assert share.high - share.low < 0.11
    order = [(pair.first, pair.second) for pair in found.quality]
    assert order == [
        ("genuine", "machine"), ("genuine", "shuffled"), ("machine", "shuffled")
    ]  # fmt: skip
    assert all(pair.differ for pair in [*found.quality, *found.inspiring])
    assert found.quality[0].difference == pytest.approx(0.45, abs=0.1)
    assert found.inspiring[0].difference == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("spread", [0.0, 0.3, 0.7])
def test_intervals_hold_the_truth_19_times_of_20(key, spread):
    """With ten listeners, whether they agree or differ."""
    held = []
    for seed in range(100):
        ratings = judged(key, TASTES, 10, spread=spread, seed=seed)
        for condition, tastes in TASTES.items():
            columns = ratings.columns(condition)
            quality = ratings.quality[:, columns]
            given = [quality == 0, quality == 1, quality == 2]
            given.append(ratings.inspiring[:, columns])
            for share, chance in zip(map(count, given), tastes):
                held.append(share.low <= chance <= share.high)
    assert 0.92 <= np.mean(held) <= 0.98, np.mean(held)


def test_intervals_are_wider_where_listeners_disagree():
    agree = np.tile([True, False], (10, 5))
    differ = np.repeat(np.arange(10) < 5, 10).reshape(10, 10)
    shares = count(agree), count(differ)
    assert shares[0].share == shares[1].share == 0.5
    widths = [share.high - share.low for share in shares]
    assert widths[1] > 2 * widths[0]
    # The effective sizes are 100 ratings and about ten ratings.
    assert widths[0] == pytest.approx(0.19, abs=0.01)
    everybody = count(np.ones((10, 10), bool))
    assert everybody.low < 0.73 and everybody.high == pytest.approx(1)


def test_no_difference_is_found_where_there_is_none(key):
    """At most one report in twenty has a pair that differs."""
    same = dict.fromkeys(TASTES, (0.4, 0.4, 0.2, 0.3))
    found = [
        report(judged(key, same, 12, spread=0.3, seed=seed))
        for seed in range(100)
    ]
    for pairs in ("quality", "inspiring"):
        false = [any(p.differ for p in getattr(f, pairs)) for f in found]
        assert np.mean(false) <= 0.08, (pairs, np.mean(false))


def test_twenty_listeners_find_a_clear_difference(key):
    found = [
        report(judged(key, TASTES, 20, spread=0.2, seed=seed))
        for seed in range(40)
    ]
    real = [f.quality[0].differ for f in found]  # genuine less machine
    assert np.mean(real) > 0.7, np.mean(real)
    assert all(f.quality[1].differ for f in found)


def test_conditions_are_compared_within_each_listener():
    """All listeners hear a small difference, although their tastes differ."""
    taste = np.linspace(-0.8, 0.8, 12)
    (pair,) = compare_pairs({"a": taste + 0.1, "b": taste})
    assert pair.differ and pair.difference == pytest.approx(0.1)
    (pair,) = compare_pairs({"a": taste, "b": taste.copy()})
    assert pair.p_value == 1 and not pair.differ


def test_the_signed_rank_test_is_scipys_where_that_is_exact():
    rng = np.random.default_rng(0)
    for values in (rng.normal(0.4, 1, 15), rng.integers(-2, 4, 8) / 3):
        (pair,) = compare_pairs({"a": values, "b": np.zeros(len(values))})
        expected = stats.wilcoxon(values, zero_method="pratt").pvalue
        assert pair.p_value == pytest.approx(expected)


def test_one_listener_is_no_test(key):
    with pytest.raises(ValueError, match="two listeners or more"):
        report(judged(key, TASTES, 1))


def test_bars_are_drawn_of_few_and_many_conditions(key, tmp_path):
    plot_report(report(judged(key, TASTES, 10)), tmp_path / "bars.svg")
    assert (tmp_path / "bars.svg").read_text().startswith("<?xml")


def test_a_report_shows_itself_in_a_notebook(key):
    found = report(judged(key, TASTES, 10))
    html = f"<div>{found._repr_html_()}</div>"
    who, shares, pairs, picture = xml.etree.ElementTree.fromstring(html)
    assert who.text.startswith("10 simulated listeners")
    rows = [[cell.text for cell in row] for row in shares.iter("tr")]
    assert [row[0] for row in rows] == ["condition", *TASTES]
    share = found.shares["genuine"]["good"]
    assert rows[1][1].startswith(f"{share.share:.0%} (")
    pair = list(pairs.iter("tr"))[2]
    assert pair[0].text == "genuine less shuffled"
    assert pair[2].text.endswith(" *")
    kind, _, data = picture.get("src").partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_a_name_in_a_notebook_is_text(tmp_path):
    names = ("<b>", "a & b")
    conditions = dict.fromkeys(names, CONDITIONS["genuine"])
    make(tmp_path, conditions=conditions, anchor=False)
    key = Key.read(tmp_path / "key.json")
    tastes = dict(zip(names, TASTES.values()))
    html = report(judged(key, tastes, 3))._repr_html_()
    root = xml.etree.ElementTree.fromstring(f"<div>{html}</div>")
    _, row = root[2].iter("tr")
    assert row[0].text == "<b> less a & b"

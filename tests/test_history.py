"""The history of a run, which is read as far as it is whole."""

import pytest

from keras_pianogen.training.curves import read_history
from keras_pianogen.training.history import History

pytestmark = pytest.mark.one_backend

COLUMNS = "step", "loss", "best"


@pytest.fixture
def history(tmp_path):
    history = History(tmp_path / "history.csv", COLUMNS)
    for step in range(1, 9):
        history.append({"step": step, "loss": 1 / step, "best": float("inf")})
    return history


def steps(history):
    return [int(row["step"]) for row in history.rows()]


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (lambda b: b[:-9], [8]),
        (lambda b: b[:-9] + b[-30:], []),
        (lambda b: b[:-9] + b"\n" + b[-30:], []),
        (lambda b: b + bytes(99), []),
        (lambda b: b.replace(b"\n5,", b"\nu,"), [5]),
        (lambda b: b.replace(b"\n5,", b'\n5,"'), [5]),
        (lambda b: b.replace(b"\n5,", b"\n5,,"), [5]),
        (lambda b: b.replace(b"\n5,", b"\n,"), [5]),
        (lambda b: b.replace(b"\n5,", b"\n5,\xff\0"), [5]),
        (lambda b: b.replace(b"\n5,", b"\n9,"), [5]),
        (lambda b: b"\xf3" + b[1:], []),
    ],
)
def test_damaged_rows_are_left_out_and_all_others_kept(history, damage, lost):
    history.path.write_bytes(damage(history.path.read_bytes()))
    history.cut(8)
    expected = [step for step in range(1, 9) if step not in lost]
    assert steps(history) == expected
    assert list(read_history(history.path.parent)["step"]) == expected
    history.append({"step": 9, "loss": 0.1})
    assert steps(history) == [*expected, 9]


def test_damage_is_told(history, caplog):
    history.cut(8)
    assert not caplog.text
    history.path.write_bytes(history.path.read_bytes()[:-9])
    history.cut(8)
    assert "history.csv: 1 damaged rows left out" in caplog.text


def test_rows_after_a_step_are_cut(history):
    history.cut(3)
    assert steps(history) == [1, 2, 3]
    assert history.rows()[1] == {"step": "2", "loss": "0.5", "best": "inf"}

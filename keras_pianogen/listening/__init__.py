"""A blind listening test: its page, its ratings and its report.

It is the paper's human evaluation as a tool. Each listener calls each piece
good, average or bad, and says whether it is inspiring (figure 11).

- `page` makes the page and the key. The page is a folder that doesn't tell
  where its sounds come from. The key is a file elsewhere that does.
- `ratings` reads the files that listeners send back, and simulates listeners.
- `report` counts answers, with intervals and tests. `picture` draws them.
"""

from keras_pianogen.listening.page import make_page
from keras_pianogen.listening.ratings import Key
from keras_pianogen.listening.ratings import Ratings
from keras_pianogen.listening.ratings import read_ratings
from keras_pianogen.listening.ratings import simulate_listeners
from keras_pianogen.listening.report import Report
from keras_pianogen.listening.report import report

__all__ = [
    "Key",
    "Ratings",
    "Report",
    "make_page",
    "read_ratings",
    "report",
    "simulate_listeners",
]

"""A blind listening test: a page that asks, a report that counts.

It is the paper's human evaluation as a tool: each listener calls each piece
good, average or bad, and says whether it is inspiring (figure 11).

- `page` makes the page, a folder that tells nothing of where its sounds come
  from, and the key, a file kept elsewhere that does.
- `ratings` reads what listeners send back, and simulates listeners.
- `report` counts, with intervals and tests; `picture` draws.
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

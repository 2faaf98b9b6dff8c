"""A web page on the user's own machine that generates and plays music.

`page/` holds the files that the browser loads, and `controls.py` the sliders in
them. `serving.py` runs the server, `connections.py` and `guard.py` protect it,
`messages.py` checks the messages that it receives, `jobs.py` works through
them one at a time, and `composer.py` holds the models. Pieces are kept in the
page. The server keeps the prefill of the latest few, in memory.
"""

"""A page on one's own machine: hear what a model writes, see it, go on.

`page/` is what the browser gets, `server.py` answers it, `guard.py` stands
before the server, `messages.py` checks what comes in, `jobs.py` does one
thing at a time, and `composer.py` has the models. Pieces live in the
page; the server has what models have read of the latest few, in memory alone.
"""

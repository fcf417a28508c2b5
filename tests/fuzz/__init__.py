"""Hostile input: random, malformed and hostile bytes at every input of the bridge.

Most cases are fed to the server's own protocol objects in memory, since a hundred thousand real
connections take an hour; `test_sockets.py` runs a smaller number over loopback. `python -m
tests.fuzz` runs as many cases as wanted and prints their outcomes; `test_fuzz.py` runs a few of
each attack.
"""

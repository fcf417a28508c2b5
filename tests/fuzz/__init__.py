"""Hostile input: random, malformed and hostile bytes at every way in.

Most cases are fed to the server's own protocol objects in memory, since a hundred thousand real
connections take an hour; `sockets` does a smaller number over loopback. `python -m tests.fuzz`
plays as many as it is told and prints what clients got; `test_fuzz.py` plays a few of each.
"""

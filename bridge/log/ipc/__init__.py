"""The log of one process, shared with other processes of the machine over a Unix socket.

The leader process owns the log and serves it (`leader`). Every other process follows it (`follower`
and `event_log`), and implements the interfaces of `log.base` on what it receives.
"""

"""The Engine.IO server: sessions, their transports and send queues.

The only package that uses private names of python-engineio and asyncio.
"""

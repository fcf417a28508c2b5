"""The ASGI server: uvicorn with limits for HTTP, and websockets that can be taken over.

The only package that imports uvicorn.
"""

"""The REST interface of the storage: events, namespace, storage classes, bulk requests and tape.

`build` makes the ASGI application; `shutdown` tells the clients of all event streams that the server stops, and must be
called before the server waits for its connections to end.
"""

from .app import build, shutdown

__all__ = ["build", "shutdown"]

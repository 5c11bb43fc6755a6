"""Runs the endpoint on a socket."""

import ipaddress
import socket
import threading

from starlette.applications import Starlette
import uvicorn


def listen(host: str, port: int, *, keyed: bool) -> socket.socket:
    """Binds a socket.

    Args:
      host: An address or a name of this machine.
      port: 0 for any that is free.
      keyed: Whether callers have to show a key.

    Raises:
      ValueError: If others could call without a key, or there is no such port.
      OSError: If it cannot be bound.
    """
    if not keyed and not _is_loopback(host):
        raise ValueError(f"{host} can be called from elsewhere, and there is no key")
    if port not in range(2**16):
        raise ValueError(f"port {port} is not in 0..{2**16 - 1}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family, backlog=128)
    bound.setblocking(False)
    return bound


def url(bound: socket.socket) -> str:
    """Returns where a socket can be called."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make(app: Starlette, *, connections: int) -> uvicorn.Server:
    """Returns a server; `run(sockets=[...])` returns after SIGTERM or SIGINT.

    Args:
      app: What it runs.
      connections: At a time; more are answered with 503.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        limit_concurrency=connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,  # what runs then is cancelled
        server_header=False,
        lifespan="off",
        ws="none",
    )
    return uvicorn.Server(config)


class Background:
    """A server in a thread of its own."""

    def __init__(self, server: uvicorn.Server, bound: socket.socket):
        """Starts it.

        Args:
          server: From `make`.
          bound: From `listen`.
        """
        self._server = server
        self._bound = bound
        self._thread = threading.Thread(
            target=server.run, kwargs=dict(sockets=[bound]), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self._server.should_exit = True
        self._thread.join()
        self._bound.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

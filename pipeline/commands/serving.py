"""A written page shown in a browser, or served to one on this machine alone."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from foundation.errors import CompressError

_HOST = "127.0.0.1"


def open_page(page: Path, say: Callable[[str], None]) -> None:
    """Open a page in the user's browser; where there is none, say where it lies."""
    address = page.absolute().as_uri()
    if not webbrowser.open(address):
        say(f"no browser could be opened here; open {address}")


def serve_page(page: Path, port: int, say: Callable[[str], None], *, opens: bool = False) -> None:
    """Serve a page, and nothing else, to this machine until Ctrl-C.

    Args:
        page: the file; it is read anew for each request.
        port: 0 takes any that is free.
        say: told the address.
        opens: whether the browser is opened there.

    Raises:
        CompressError: when the port is taken.
    """
    try:
        server = ThreadingHTTPServer((_HOST, port), _handler_of(page))
    except (OSError, OverflowError) as error:
        raise CompressError(
            f"port {port} of {_HOST} cannot be served on ({error}); choose another with --port, or "
            "leave it out"
        ) from error
    with server:
        address = f"http://{_HOST}:{server.server_address[1]}/"
        say(f"serving {page.name} at {address} on this machine alone; Ctrl-C ends it")
        if opens and not webbrowser.open(address):
            say("no browser could be opened here")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("ended")


def _handler_of(page: Path) -> type[BaseHTTPRequestHandler]:
    class PageHandler(BaseHTTPRequestHandler):
        """Answers with the page, to whoever names this machine as it is named here: another name
        that leads here is somebody else's page asking."""

        def do_GET(self) -> None:
            host = (self.headers.get("Host") or "").rpartition(":")[0]
            if host not in {_HOST, "localhost"} or urlsplit(self.path).path not in {
                "/",
                f"/{page.name}",
            }:
                self.send_error(404)
                return
            content = page.read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing of each request."""

    return PageHandler

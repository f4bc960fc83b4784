"""nginx as a reverse proxy in front of a server on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NGINX", "Nginx", "nginx"]

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
"""Where nginx is, or None."""

CONFIGURATION = """\
daemon off;
pid nginx.pid;
error_log error.log notice;
events {{ worker_connections 256; }}
http {{
  log_format short '$status $connection_requests $sent_http_content_encoding';
  access_log access.log short;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  limit_req_zone $host zone=polls:64k rate=4r/s;
  server {{
    listen 127.0.0.1:{own};
    location / {{
      proxy_pass http://127.0.0.1:{backend};
      {settings}
    }}
  }}
}}
"""


class Nginx:
    """A running nginx."""

    def __init__(self, url: str, prefix: Path) -> None:
        self.url = url
        self._prefix = prefix

    @property
    def log(self) -> list[str]:
        """A line for each answer: its status, its number on its connection, its encoding."""
        log = self._prefix / "access.log"
        return log.read_text().splitlines() if log.exists() else []


@contextmanager
def nginx(backend: int, settings: str) -> Iterator[Nginx]:
    """Run nginx before the server on port `backend`.

    Args:
        backend: The server's port on loopback.
        settings: Directives for the location.
    """
    assert NGINX is not None
    with (
        tempfile.TemporaryDirectory(prefix="nginx-") as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        prefix, own = Path(folder), listener.getsockname()[1]
        (prefix / "nginx.conf").write_text(
            CONFIGURATION.format(own=own, backend=backend, settings=settings), encoding="utf-8"
        )
        # nginx takes over a listening socket, as at its own upgrade: no port is lost to somebody else, and
        # who connects before it is up waits in the socket's queue.
        process = subprocess.Popen(
            [NGINX, "-p", folder, "-e", "error.log", "-c", "nginx.conf"],
            env=os.environ | {"NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        listener.close()
        try:
            yield Nginx(f"http://127.0.0.1:{own}", prefix)
        finally:
            process.terminate()
            process.wait(10)

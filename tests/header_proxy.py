"""A proxy that lets a request through only with the right ``Authorization``, as hospitals put before a PACS."""

from __future__ import annotations

import base64
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orthanc_server import PASSWORD, USER, Orthanc

_KEPT = ("Accept", "Content-Type", "Content-Length")


@contextmanager
def header_proxy(server: Orthanc, wanted: str) -> Iterator[tuple[str, list[str | None]]]:
    """Gives the DICOMweb address, and a list of the ``Authorization`` of every request."""
    seen: list[str | None] = []
    basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if seen[-1] != wanted:
                self.send_error(401)
                return
            connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
            headers = {name: self.headers[name] for name in _KEPT if name in self.headers}
            connection.request(self.command, self.path, body, headers | {"Authorization": basic})
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/octet-stream"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"dicomweb://127.0.0.1:{proxy.server_port}/dicom-web", seen
    finally:
        proxy.shutdown()
        proxy.server_close()

"""A W&B server on this machine for as long as a block lasts, well or ill as a test wants it."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANGS = 3600.0
BUCKET = {
    "id": "b", "displayName": "x", "description": "", "config": "{}", "sweepName": "", "historyLineCount": 0,
    "project": {"id": "p", "name": "kasoku", "entity": {"id": "e", "name": "me"}},
}  # fmt: skip


class Loopback:
    """Answers with a `status`, or never where that is None, until the run has begun, and then in another way.

    Args:
        begins, then: of the first request after the question for the key, and of what follows the run's beginning:
            "answers" as before, "hangs", "dies" (refuses connections), or a status.
        viewer: who the key belongs to.
        page: the answer to everything.
    """

    def __init__(
        self,
        status: int | None = 200,
        then: str | int = "answers",
        begins: str = "answers",
        viewer: str | None = "me",
        page: str = "",
    ):
        self.status, self.then, self.begins, self.viewer, self.page = status, then, begins, viewer, page
        self.requests: list[str] = []

    def __enter__(self) -> "Loopback":
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                """Silent."""

            def answer(self) -> None:
                owner.answer(self)

            do_GET = do_POST = do_PUT = answer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a command that has a key for this server."""
        port = self._server.server_address[1]
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0)).decode(errors="replace")
        self.requests.append(f"{request.command} {request.path} {body}")
        if self.begins == "hangs" and len(self.requests) > 1:
            self.status = None
        if self.status is None:
            time.sleep(HANGS)
        self._send(request, self.status, self._data(body) if request.path == "/graphql" else {})
        if "upsertBucket" in body:
            self._turn()

    def _turn(self) -> None:
        if self.then == "hangs":
            self.status = None
        elif self.then == "dies":
            threading.Thread(target=self.__exit__, daemon=True).start()
            self.status = None  # of connections that are open already
        elif isinstance(self.then, int):
            self.status = self.then

    def _send(self, request: BaseHTTPRequestHandler, status: int | None, content: Any) -> None:
        text = self.page.encode() or json.dumps(content if status == 200 else {"errors": [{"message": "no"}]}).encode()
        request.send_response(status or 200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

    def _data(self, body: str) -> dict[str, Any]:
        """What wandb-core of 0.31 needs to go on."""
        if "viewer" in body:
            found = {"id": "1", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
            return {"data": {"viewer": found if self.viewer else None}}
        if "upsertBucket" in body:
            name = json.loads(body)["variables"].get("name")
            return {"data": {"upsertBucket": {"bucket": BUCKET | {"name": name}, "inserted": True}}}
        return {"data": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []}}}

"""A small OpenAI-compatible server for tests: answers over real HTTP, fails as it is told to, counts its requests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Takes a prompt and gives an answer, or (status, body) of a fault.
Answer = Callable[[str], "str | tuple[int, str]"]


class ChatServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer, key: str | None = None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.key = answer, key
        self.requests: list[dict] = []
        self.at_once, self.most_at_once = 0, 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests.append(request)
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        time.sleep(0.02)
        answered = self._answer(request)
        with self.server.lock:
            self.server.at_once -= 1
        status, body = answered if isinstance(answered, tuple) else (200, _completion(answered))
        self.send_response(status)
        self.send_header("content-length", str(len(body.encode())))
        if status == 429:
            self.send_header("retry-after", "0.1")
        self.end_headers()
        self.wfile.write(body.encode())

    def _answer(self, request):
        if self.path != "/v1/chat/completions":
            return 404, "no such page"
        if self.server.key and self.headers.get("authorization") != f"Bearer {self.server.key}":
            return 401, f"wrong key: {self.headers.get('authorization')}"
        return self.server.answer(request["messages"][0]["content"])

    def log_message(self, *arguments):
        """Nothing on standard error."""


def _completion(answer: str) -> str:
    return json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}}]})


@contextmanager
def chat_server(answer: Answer, key: str | None = None) -> Iterator[ChatServer]:
    """A server on a port of its own for as long as the block runs."""
    server = ChatServer(answer, key)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

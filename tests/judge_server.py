"""A small HTTP server that answers like an OpenAI-compatible endpoint, well or badly as a test wants."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "sk-very-secret-0123456789"

Reply = Callable[["Server", BaseHTTPRequestHandler, dict[str, Any]], None]


class Server:
    """The address, what arrived, and the replies to give before the good ones."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.bad: list[Reply] = []
        """Used up one by one, before `good`."""
        self.dies_after: int | None = None
        """From this many requests on, every connection is dropped."""
        self.policy: Callable[[dict[str, Any]], Reply | None] = lambda request: None
        """The reply to a request that is not liked, after those of `bad`."""
        self.say: Callable[[str], str] = judge
        self.usage: dict[str, int] | None = {"prompt_tokens": 100, "completion_tokens": 5}


def judge(prompt: str) -> str:
    """A judge that knows a few words: a text fits a description if both have one of them."""
    if "have in common" in prompt:
        marked = re.findall(r"<<(.*?)>>", prompt)
        return max(set(marked), key=marked.count) if marked else "something"
    described = prompt.split("\n", 1)[0]
    texts = re.findall(r"<text[^>]*>(.*?)</text>", prompt, re.S)
    fits = ["Yes" if _alike(described, text) else "No" for text in texts]
    return fits[0] if len(texts) == 1 else "\n".join(f"{i}: {word}" for i, word in enumerate(fits, 1))


KNOWN = {
    "year": r"\b(1[5-9]|20)\d\d\b",
    "question": r"\?",
    "dollars": r"\$ ?\d",
    "code": r"def |return|;",
    "medical": r"patient|disease",
    "reviews": r"bought|stars",
}


def _alike(description: str, text: str) -> bool:
    for word, pattern in KNOWN.items():
        if word in description:
            return re.search(pattern, text) is not None
    phrase = description.removeprefix("Description: ").strip().lower()
    return phrase in text.lower()


def completion(text: str, usage: dict[str, int] | None) -> bytes:
    body: dict[str, Any] = {"model": "served-model", "choices": [{"message": {"content": text}}]}
    if usage is not None:
        body["usage"] = usage
    return json.dumps(body).encode()


def send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def status(code: int, body: str = "", **headers: str) -> Reply:
    """Refuse with `code`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda server, handler, request: send(handler, code, body.encode(), named)


def body(raw: str) -> Reply:
    """Status 200 and anything."""
    return lambda server, handler, request: send(handler, 200, raw.encode())


def message(finish: str | None = "stop", usage: Any = None, **fields: Any) -> Reply:
    """A completion whose message has these fields."""
    choice = {"message": fields, "finish_reason": finish}
    return body(json.dumps({"model": "served-model", "choices": [choice], "usage": usage}))


def packed(raw: bytes, packing: str = "gzip") -> Reply:
    """Status 200 and bytes that are said to be packed."""
    return lambda server, handler, request: send(handler, 200, raw, {"Content-Encoding": packing})


def drip(head: bytes, seconds: float) -> Reply:
    """`head`, and then a byte every twentieth of a second."""

    def reply(server: Server, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        handler.close_connection = True
        handler.wfile.write(head)
        for _ in range(round(20 * seconds)):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            threading.Event().wait(0.05)

    return reply


def late(reply: Reply, seconds: float) -> Reply:
    """A reply that takes its time."""

    def wait(server: Server, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        threading.Event().wait(seconds)
        reply(server, handler, request)

    return wait


def says(text: str | None) -> Reply:
    """A well-formed completion that says `text`."""
    return lambda server, handler, request: send(handler, 200, completion(text, server.usage))  # type: ignore[arg-type]


def silence(seconds: float) -> Reply:
    """Too late an answer."""

    def reply(server: Server, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        threading.Event().wait(seconds)
        handler.close_connection = True

    return reply


def half(server: Server, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    """The beginning of an answer, and the connection drops."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    drop(server, handler, request)


def drop(server: Server, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    """No answer at all."""
    handler.close_connection = True
    handler.wfile.flush()
    handler.connection.close()


@contextmanager
def serving() -> Iterator[Server]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                if self.path != "/v1/chat/completions":
                    send(self, 404, b"no such path")
                    return
                if server.dies_after is not None and len(server.requests) >= server.dies_after:
                    drop(server, self, request)
                    return
                server.requests.append(request)
                server.authorizations.append(self.headers.get("Authorization"))
                reply = server.bad.pop(0) if server.bad else server.policy(request)
            if reply is None:
                text = server.say(request["messages"][-1]["content"])
                send(self, 200, completion(text, server.usage))
            else:
                reply(server, self, request)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # connections that a test drops on purpose

    http = Quiet(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{http.server_port}/v1")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()

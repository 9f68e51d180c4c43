"""Deadlines, causes, proxies and interruptions: over HTTP, against a server on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judge_server import Server, drip, late, says, status

from sanity.evals.judging.client import EndpointJudge
from sanity.evals.judging.errors import JudgeError
from sanity.evals.judging.protocol import Conversation, Message

Open = Callable[..., EndpointJudge]


def asked(n: int) -> list[Conversation]:
    return [
        Conversation((Message("user", f"Description: patient\n<text>patient {i}</text>"),), 8)
        for i in range(n)
    ]


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"]
)
def test_the_time_out_is_that_of_the_whole_call(server: Server, open_judge: Open, head: bytes) -> None:
    server.bad = [drip(head, 4.0)]
    began = time.monotonic()
    with pytest.raises(JudgeError, match=r"time-out after 0\.5 s"):
        open_judge(timeout=0.5, attempts=1).answer(asked(1))
    assert time.monotonic() - began < 2.0


def test_a_server_that_never_shakes_hands_is_not_booked(open_judge: Open) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        judge = open_judge(url=f"https://127.0.0.1:{mute.getsockname()[1]}/v1", timeout=0.3, attempts=1)
        with pytest.raises(JudgeError, match="time-out"):
            judge.answer(asked(1))
    assert judge.spending.booked.calls == 0


def test_answers_in_flight_when_another_fails_are_waited_for_and_kept(
    server: Server, open_judge: Open
) -> None:
    slow, refusal = late(says("Yes"), 0.4), late(status(401, "no"), 0.1)
    server.policy = lambda request: refusal if "patient 3" in request["messages"][0]["content"] else slow
    with pytest.raises(JudgeError, match="status 401"):
        open_judge(concurrency=4).answer(asked(8))
    server.policy = lambda request: None
    judge = open_judge()
    judge.answer(asked(8))
    assert judge.spending.booked.calls == 3 + 5


def test_an_interrupted_run_keeps_what_was_in_flight(server: Server, open_judge: Open) -> None:
    # At a moment of the run, not of the clock: when both questions of the first round are at the judge.
    def policy(request: Any) -> Any:
        if len(server.requests) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return late(says("Yes"), 0.5)

    server.policy = policy
    # A shell's background jobs begin with interrupts ignored, and so would this test.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            open_judge(concurrency=2).answer(asked(6))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(server.requests) == 2
    assert open_judge().spending.booked.calls == 2
    server.policy = lambda request: None
    open_judge().answer(asked(6))
    assert len(server.requests) == 6


def test_it_works_where_an_event_loop_is_running_as_in_a_notebook(server: Server, open_judge: Open) -> None:
    async def cell() -> list[str]:
        return [a.text for a in open_judge().answer(asked(2))]

    assert asyncio.run(cell()) == ["Yes", "Yes"]


def test_quota_that_is_used_up_is_not_waited_for(server: Server, open_judge: Open) -> None:
    server.bad = [status(429, '{"error": {"message": "quota", "code": "insufficient_quota"}}')] * 3
    with pytest.raises(JudgeError, match="quota"):
        open_judge().answer(asked(1))
    assert len(server.requests) == 1


@pytest.mark.parametrize("after", ["inf", "1e400", "Fri, 31 Dec 9999 23:59:59 GMT", "99999999"])
def test_a_pause_without_end_is_not_made(server: Server, open_judge: Open, after: str) -> None:
    server.bad = [status(429, "slow down", Retry_After=after)]
    with pytest.raises(JudgeError, match="asks to wait"):
        open_judge().answer(asked(1))


def test_a_look_up_that_hangs_ends_at_the_deadline(open_judge: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3.0) or [])
    began = time.monotonic()
    with pytest.raises(JudgeError, match="time-out"):
        open_judge(url="https://judge.invalid/v1", timeout=0.3, attempts=1).answer(asked(1))
    assert time.monotonic() - began < 2.0


def test_an_unknown_name_is_said_and_not_tried_again(
    open_judge: Open, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(JudgeError, match=r"the name judge\.invalid is not known"):
        open_judge(url="https://judge.invalid/v1").answer(asked(1))
    assert pauses == []


def test_a_port_without_tls_is_said_and_not_tried_again(
    server: Server, open_judge: Open, pauses: list[float]
) -> None:
    with pytest.raises(JudgeError, match="does not speak TLS"):
        open_judge(url=server.url.replace("http:", "https:")).answer(asked(1))
    assert pauses == []


def test_a_server_that_goes_away_half_way_is_tried_again(
    server: Server, open_judge: Open, caplog: pytest.LogCaptureFixture, pauses: list[float]
) -> None:
    caplog.set_level(logging.INFO, "sanity")
    server.dies_after = 1
    with pytest.raises(JudgeError, match="3 tries"):
        open_judge().answer(asked(2))
    assert pauses == [1.0, 2.0]
    assert "broken connection (" in caplog.text


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "socks9://127.0.0.1:1", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_refused_in_words(
    open_judge: Open, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(JudgeError, match=r"proxy.*NO_PROXY=judge\.example"):
        open_judge(url="https://judge.example/v1").answer(asked(1))


def test_no_proxy_stands_before_a_server_on_this_machine(
    server: Server, open_judge: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    assert len(open_judge().answer(asked(1))) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate, and is not here")
def test_a_certificate_that_is_not_trusted_is_said_and_not_tried_again(
    open_judge: Open, tmp_path: Path, pauses: list[float]
) -> None:
    files = (tmp_path / "key.pem", tmp_path / "own.pem")
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run([*request, "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])

    def shake_hands(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client leaves
            context.wrap_socket(listening.accept()[0], server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=shake_hands, args=[listening], daemon=True).start()
        with pytest.raises(JudgeError, match=r"certificate .*self.signed.*SSL_CERT_FILE"):
            open_judge(url=f"https://127.0.0.1:{listening.getsockname()[1]}/v1").answer(asked(1))
    assert pauses == []

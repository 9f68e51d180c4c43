"""One question over HTTP, with a deadline, a limit on bytes, and causes in words."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any

import anyio
import httpx

from sanity.evals.judging.budget import Usage
from sanity.evals.judging.cache import Answer
from sanity.evals.judging.completion import error_in, read_answer, read_json
from sanity.evals.judging.dialect import Dialect, complaint
from sanity.evals.judging.errors import JudgeError, TryLaterError
from sanity.evals.judging.limits import retry_after
from sanity.evals.judging.settings import Endpoint

LARGEST_REPLY = 4 * 2**20
"""Bytes, packed and unpacked: a hundred times what the longest answer takes."""

_LATER = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_HINTS = {
    401: "check SANITY_JUDGE_KEY",
    402: "check the account",
    403: "check SANITY_JUDGE_KEY and what it is allowed",
    404: "check SANITY_JUDGE_URL (it ends before /chat/completions) and SANITY_JUDGE_MODEL",
}


class _Lookups(ThreadPoolExecutor):
    """Looks names up; a look-up that takes longer than its call may is left behind."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)


class Wire:
    """Connections to an endpoint, for as long as the context is open."""

    def __init__(self, endpoint: Endpoint, dialect: Dialect) -> None:
        self.endpoint = endpoint
        self.dialect = dialect
        self._answered = False

    async def __aenter__(self) -> Wire:
        headers = {
            "User-Agent": "sae-sanity",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
        }
        asyncio.get_running_loop().set_default_executor(_Lookups())
        key = self.endpoint.key
        if key:
            headers["Authorization"] = f"Bearer {key.reveal()}"
        # A key that may travel unencrypted to one host is not shown to a proxy on the way.
        direct = self.endpoint.on_this_machine or (key and self.endpoint.url.startswith("http:"))
        try:
            self._http = httpx.AsyncClient(
                headers=headers,
                timeout=None,  # a deadline over all of a call is in `_post`
                limits=httpx.Limits(max_connections=None),
                follow_redirects=False,
                trust_env=not direct,
            )
        except (ImportError, ValueError, httpx.InvalidURL, OSError) as error:
            raise JudgeError(
                f"the proxy or certificates that the environment names cannot be used ({error}): check "
                f"HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE, or set NO_PROXY={self.endpoint.host}"
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, request: Mapping[str, Any], expected: Usage) -> Answer:
        """The answer to a request, asked again without what the endpoint names as unsupported.

        Raises `TryLaterError` for what may pass, else `JudgeError`.
        """
        while True:
            sent = self.dialect.spelled(request)
            status, headers, body = await self._post(sent)
            if status not in (400, 422):
                break
            self.dialect.learn(sent, self._clean(complaint(body)))
            if self.dialect.spelled(request) == sent:
                break
        if status != 200:
            raise self._refusal(status, body, retry_after(headers))
        reply = read_json(body)
        error = error_in(reply)
        if error:
            code = str(error.get("code")) if isinstance(error, Mapping) else ""
            raise self._refusal(int(code) if code.isdecimal() else 200, json.dumps({"error": error}), None)
        answer = read_answer(reply, expected)
        self._answered = True
        return replace(answer, text=self._clean(answer.text), model=self._clean(answer.model))

    async def _post(self, sent: Mapping[str, Any]) -> tuple[int, httpx.Headers, str]:
        """Status, headers and text of the reply, within the deadline and the limit on bytes."""
        asked = False

        async def watch(event: str, _: Any) -> None:
            nonlocal asked
            asked = asked or event.endswith("send_request_body.complete")

        raw = bytearray()
        try:
            with anyio.fail_after(self.endpoint.timeout):
                async with self._http.stream(
                    "POST",
                    f"{self.endpoint.url}/chat/completions",
                    content=json.dumps(sent).encode(),
                    extensions={"trace": watch},
                ) as response:
                    async for chunk in response.aiter_raw():
                        raw += chunk
                        if len(raw) > LARGEST_REPLY:
                            raise self._unreadable("is larger than 4 MB")
        except TimeoutError as error:
            raise TryLaterError(f"a time-out after {self.endpoint.timeout:g} s", charged=asked) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._broken(error, asked) from error
        packing = response.headers.get("Content-Encoding", "identity").strip().lower()
        return response.status_code, response.headers, self._unpacked(bytes(raw), packing)

    def _unpacked(self, raw: bytes, packing: str) -> str:
        """Text of a reply: packing was not asked for, but some gateways pack anyway."""
        if packing in ("gzip", "x-gzip", "deflate"):
            try:
                raw = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(raw, LARGEST_REPLY + 1)
            except zlib.error as error:
                raise TryLaterError(
                    f"a reply that is not {packing} as it says ({error})", charged=True
                ) from error
            if len(raw) > LARGEST_REPLY:
                raise self._unreadable("is larger than 4 MB")
        elif packing not in ("identity", ""):
            raise self._unreadable(f"is packed as {packing!r}, which was not asked for")
        return raw.decode("utf-8", "replace")

    def _unreadable(self, what: str) -> JudgeError:
        return JudgeError(f"a reply of {self.endpoint.host} {what}: check SANITY_JUDGE_URL")

    def _refusal(self, status: int, body: str, after: float | None) -> JudgeError:
        said = self._clean(complaint(body))[:200] or "no reason given"
        if status in _LATER and "insufficient_quota" not in body:
            return TryLaterError(f"status {status}: {said}", after=after)
        hint = _HINTS.get(status, "check SANITY_JUDGE_URL and SANITY_JUDGE_MODEL")
        return JudgeError(f"the judge at {self.endpoint.host} refused with status {status} ({said}): {hint}")

    def _broken(self, error: Exception, asked: bool) -> JudgeError:
        """A connection that failed, by its cause; what no retry mends is final."""
        cause = _root(error)
        why = f"{type(error).__name__}: {self._clean(str(cause)) or type(cause).__name__}"
        host, url = self.endpoint.host, httpx.URL(self.endpoint.url)
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        if isinstance(cause, ssl.SSLCertVerificationError):
            final = (
                f"the certificate of {host} is not trusted ({cause.verify_message}): name a file with its "
                "authority in SSL_CERT_FILE"
            )
        elif isinstance(cause, ssl.SSLError):
            final = f"{host} does not speak TLS at port {port} ({cause.reason}): check SANITY_JUDGE_URL"
        elif isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            final = f"the name {host} is not known ({cause.strerror}): check SANITY_JUDGE_URL"
        elif isinstance(cause, ConnectionRefusedError) and not self._answered:
            final = f"nothing listens at port {port} of {host}: start the server, or check SANITY_JUDGE_URL"
        elif isinstance(error, httpx.ProxyError):
            final = f"the proxy in front of {host} refuses ({why}): check HTTPS_PROXY, or set NO_PROXY={host}"
        elif isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.InvalidURL):
            final = f"{host} cannot be asked ({why}): check SANITY_JUDGE_URL"
        else:
            return TryLaterError(f"a broken connection ({why})", charged=asked)
        return JudgeError(final)

    def _clean(self, text: str) -> str:
        """Text without the key, should a server have repeated it."""
        return self.endpoint.key.hidden_in(text) if self.endpoint.key else text


def _root(error: BaseException) -> BaseException:
    """The cause at the bottom of a chain of errors, which alone says what happened."""
    below = (
        error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    )
    return error if below is None else _root(below)

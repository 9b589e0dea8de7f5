"""ASGI middleware: bounded request bodies, and a shared secret."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["BearerToken", "BodyLimit"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _TooLarge(Exception):
    pass


class BodyLimit:
    """Refuse bodies above `max_bytes` with status 413: by their declared length, and by what really arrives."""

    def __init__(self, app: App, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = f"the request must have at most {self.max_bytes} bytes"
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.max_bytes:
            await _refuse(send, 413, refusal)
            return
        received, answered = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            # The form parser turns any exception into an answer of its own; the refusal takes its place.
            nonlocal answered
            if received > self.max_bytes:
                if not answered:
                    await _refuse(send, 413, refusal)
            else:
                await send(message)
            answered = True

        try:
            await self.app(scope, counted, noted)
        except _TooLarge:
            if not answered:
                await _refuse(send, 413, refusal)


class BearerToken:
    """Require `Authorization: Bearer TOKEN` on every path but those in `open_paths`; status 401 otherwise."""

    def __init__(self, app: App, token: str, open_paths: tuple[str, ...] = ()) -> None:
        self.app = app
        self.expected = f"Bearer {token}".encode()
        self.open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self.open_paths:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self.expected):
                text = "the header Authorization: Bearer with the server's token is missing or wrong"
                await _refuse(send, 401, text)
                return
        await self.app(scope, receive, send)


async def _refuse(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

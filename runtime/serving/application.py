"""The paths of the protocol, as an application of the ASGI interface."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import perf_counter
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tilewright.errors import InputError, ResourceError, TilewrightError, similar
from tilewright.limits import SERVED_BODIES

from .model import Model
from .protocol import EXTENSIONS, HEADER_LENGTH, RefusedError, answer, most_bytes, read_request

_Result = TypeVar("_Result")

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)
_PIECE = 1 << 16
"""Bytes of an answer that are given to the connection at a time; it holds few that the client has not taken."""


class Application:
    """Networks behind HTTP.

    Args:
        models: what is served, in any order.
        version: of Tilewright.
        timeout: seconds that the body of a request may take to arrive, and that it may wait and be computed.

    Attributes:
        asgi: what a server of the ASGI interface runs.
        answered: answers to requests for inference, by HTTP status.
    """

    def __init__(self, models: Sequence[Model], version: str, timeout: float) -> None:
        self._models: dict[str, dict[int, Model]] = {}
        self._version, self._timeout = version, timeout
        self._held = 0
        self.answered: dict[int, int] = {}
        self._registry = CollectorRegistry()
        labels, kept = ("model", "version"), self._registry
        self._requests = Counter("tilewright_requests", "Answers to requests.", (*labels, "status"), registry=kept)
        seconds, items = "From the head of a request to its outputs.", "Items that a run computes together."
        self._seconds = Histogram("tilewright_request_seconds", seconds, labels, registry=kept, buckets=_SECONDS)
        computed = Histogram("tilewright_batch_items", items, labels, registry=kept, buckets=_ITEMS)
        pending = Gauge("tilewright_pending_requests", "Requests without an answer yet.", labels, registry=kept)
        for model in models:
            self._models.setdefault(model.name, {})[model.version] = model
            model.ran = computed.labels(model.name, model.version).observe
            pending.labels(model.name, model.version).set_function(lambda model=model: model.pending)
        most = (most_bytes(model.inputs, binary=binary) for model in models for binary in (False, True))
        self._room = max(SERVED_BODIES, *most)
        routed = Starlette(
            routes=[
                Route("/v2", self._server),
                *(Route(f"/v2/health/{state}", self._healthy) for state in ("live", "ready")),
                *self._routes("/v2/models/{model}"),
                *self._routes("/v2/models/{model}/versions/{version}"),
                Route("/metrics", self._metrics),
            ],
            exception_handlers={HTTPException: _no_such_path, TilewrightError: _refused, Exception: _failed},
        )
        routed.router.redirect_slashes = False

        async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
            # A request may name the scheme and the host in front of the path, as those to a proxy do.
            if not scope["path"].startswith("/"):
                scope["path"] = "/" + scope["path"].partition("://")[2].partition("/")[2]
            await routed(scope, receive, send)

        self.asgi: ASGIApp = asgi

    def _routes(self, path: str) -> list[Route]:
        return [
            Route(path, self._metadata),
            Route(f"{path}/ready", self._model_ready),
            Route(f"{path}/infer", self._infer, methods=["POST"]),
        ]

    def _model(self, request: Request) -> Model:
        """The model that the path names, the latest version where it names none."""
        name, version = request.path_params["model"], request.path_params.get("version")
        versions = self._models.get(name)
        if versions is None:
            hint = similar(name, self._models)
            raise RefusedError(404, f"there is no model {name!r}", expected=" or ".join(self._models), hint=hint)
        by_text = {"": versions[max(versions)], **{str(number): model for number, model in versions.items()}}
        if (model := by_text.get(version or "")) is None:
            known = " or ".join(map(str, versions))
            raise RefusedError(404, f"model {name!r} has no such version", expected=known, found=repr(version))
        return model

    async def _server(self, request: Request) -> Response:
        return JSONResponse({"name": "tilewright", "version": self._version, "extensions": EXTENSIONS})

    async def _healthy(self, request: Request) -> Response:
        # The server listens when all models are loaded, and not any more when it ends.
        return JSONResponse({request.scope["path"].rpartition("/")[2]: True})

    async def _model_ready(self, request: Request) -> Response:
        return JSONResponse({"name": self._model(request).name, "ready": True})

    async def _metadata(self, request: Request) -> Response:
        model = self._model(request)
        return JSONResponse(model.metadata(sorted(self._models[model.name])))

    async def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type="text/plain; version=0.0.4")

    async def _infer(self, request: Request) -> Response:
        model = self._model(request)
        start, status = perf_counter(), 500
        try:
            model.enter()
            try:
                response = await self._inferred(model, request)
            except BaseException:
                model.leave()
                raise
            status = response.status_code
            self._seconds.labels(model.name, model.version).observe(perf_counter() - start)
        except TilewrightError as error:
            response = await _refused(request, error)
            # Its frames hold the body, and the task that read it holds the error: they would stay as long as a cycle.
            error.__traceback__ = None
            status = response.status_code
        finally:
            self.answered[status] = self.answered.get(status, 0) + 1
            self._requests.labels(model.name, model.version, status).inc()
        return response

    async def _inferred(self, model: Model, request: Request) -> Response:
        body = bytearray()
        header = request.headers.get(HEADER_LENGTH)
        try:
            reading = self._read(body, most_bytes(model.inputs, binary=header is not None), request)
            await self._within(reading, 408, "the body of the request has not arrived")
            inference = read_request(body, header, model.inputs, model.outputs, model.check_shapes)
            outputs = await self._within(model.infer(inference.inputs), 504, "the outputs are not computed")
        finally:
            self._held -= len(body)
        description = {"model_name": model.name, "model_version": str(model.version)}
        content, headers = answer(description, outputs, model.outputs, inference)
        return _Answer(content, headers, model.leave)

    async def _within(self, awaited: Coroutine[Any, Any, _Result], status: int, late: str) -> _Result:
        try:
            return await asyncio.wait_for(awaited, self._timeout)
        except asyncio.TimeoutError:
            raise RefusedError(status, late, expected=f"within {self._timeout:g} s") from None

    async def _read(self, body: bytearray, most: int, request: Request) -> None:
        """Read the body of a request, and count what it holds.
        Raises RefusedError: it is compressed, too large, too much with those of others, or ends early."""
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise RefusedError(415, "compressed bodies are not read", expected="no Content-Encoding", found=encoding)
        stated = request.headers.get("Content-Length", "0")
        if not (stated.isascii() and stated.isdigit() and len(stated) < 20):
            raise RefusedError(400, "Content-Length is no number", found=repr(stated))
        too_large = RefusedError(413, "the body is larger than the network takes", expected=f"at most {most} bytes")
        if int(stated) > most:
            raise too_large
        try:
            async for piece in request.stream():
                if len(body) + len(piece) > most:
                    raise too_large
                if self._held + len(piece) > self._room:
                    raise RefusedError(
                        429, "the bodies of requests take all the room there is", hint="Try again later."
                    )
                body += piece
                self._held += len(piece)
        except ClientDisconnect:
            raise RefusedError(400, "the body ends early, with the connection") from None


class _Answer(Response):
    """Sent in pieces, each when the client has taken most of those before; ``sent`` is called at the end."""

    def __init__(self, content: bytes, headers: dict[str, str], sent: Callable[[], None]) -> None:
        super().__init__(content, headers=headers)
        self._sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for begin in range(0, len(self.body), _PIECE):
                piece = self.body[begin : begin + _PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            self._sent()


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status, {"Retry-After": "1"} if status in (429, 503) else None)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RefusedError):
        return _error(error.status, str(error))
    if isinstance(error, InputError):
        return _error(400, str(error))
    return _error(503 if isinstance(error, ResourceError) else 500, str(error))


async def _no_such_path(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, f"{request.method} {request.url.path:.200}: {error.detail}")


async def _failed(request: Request, error: Exception) -> JSONResponse:
    return _error(500, f"internal error: {type(error).__name__}")

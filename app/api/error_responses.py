"""Errors into HTTP: a status, a short code, and the sentence that the error already is."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from app import errors
from app.api.schemas import ErrorBody

log = logging.getLogger(__name__)

# The most specific first.
STATUSES: tuple[tuple[type[errors.LosscastError], int, str], ...] = (
    (errors.UnknownMetric, 404, "unknown_metric"),
    (errors.BadInput, 422, "bad_input"),
    (errors.RunDeleted, 410, "run_deleted"),
    (errors.NoForecast, 404, "no_forecast"),
    (errors.NotFound, 404, "not_found"),
    (errors.Conflict, 409, "conflict"),
    (errors.Overloaded, 429, "overloaded"),
    # Not 507: of the two, HTTP clients of all kinds send again after a 503.
    (errors.DiskFull, 503, "disk_full"),
    (errors.Unavailable, 503, "unavailable"),
)

_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "bad_input",
}


def install(app: FastAPI) -> None:
    """Give every error of the app one form of body."""
    app.add_exception_handler(errors.LosscastError, _losscast_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _invalid_request)  # type: ignore[arg-type]
    app.add_exception_handler(StarletteHTTPException, _http_error)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _our_fault)


def error_response(
    status: int,
    code: str,
    message: str,
    *,
    headers: dict[str, str] | None = None,
    detail: list[dict[str, object]] | None = None,
) -> JSONResponse:
    body = ErrorBody(error=code, message=message, detail=detail)
    return JSONResponse(body.model_dump(exclude_none=True), status, headers)


def _losscast_error(request: Request, error: errors.LosscastError) -> JSONResponse:
    return response_to(error, request.url.path)


def response_to(error: errors.LosscastError, path: str) -> JSONResponse:
    """What `error` means to whoever asked for `path`."""
    status, code = next(((status, code) for kind, status, code in STATUSES if isinstance(error, kind)), (500, "error"))
    headers = {}
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
    if code == "not_found" and "/runs/" in path:
        code = "run_not_found"
    return error_response(status, code, str(error), headers=headers)


def _invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    faults: list[dict[str, object]] = [
        {"where": ".".join(str(part) for part in fault["loc"]), "what": fault["msg"]} for fault in error.errors()
    ]
    first = faults[0] if faults else {"where": "the request", "what": "cannot be read"}
    message = f"{first['where']}: {first['what']}. The forms are described at /api/docs."
    return error_response(422, "bad_input", message, detail=faults)


def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    message = str(error.detail)
    if error.status_code == 413:
        message = "The body is too large. Send the points in several batches; the limit is in /api/docs."
    if error.status_code == 404 and message == "Not Found":
        message = f"There is nothing at {request.url.path}. The addresses are listed at /api/docs."
    headers = dict(error.headers) if error.headers else None
    return error_response(error.status_code, _CODES.get(error.status_code, "error"), message, headers=headers)


def _our_fault(request: Request, error: Exception) -> JSONResponse:
    log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    message = "This is a fault of the server's; its log has the details. Nothing of this request was stored."
    return error_response(500, "server_error", message)

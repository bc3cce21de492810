"""The API's description (OpenAPI 3.1), out of the types that read requests and write answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from deployrec.server import schemas, tensors
from deployrec.server.page import render
from deployrec.server.problems import MEDIA_TYPE, ProblemDetails
from deployrec.version import __version__

Operation = tuple[str, str]
"""Method and path."""
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
INFER = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")
BODIES: dict[Operation, type[msgspec.Struct]] = {
    ("POST", "/v1/events"): schemas.EventsRequest,
    ("POST", "/v1/recommendations"): schemas.RecommendationsRequest,
    **{("POST", path): tensors.InferRequest for path in INFER},
}
ANSWERS: dict[Operation, tuple[Any, ...]] = {
    ("POST", "/v1/events"): (schemas.EventsAnswer,),
    ("GET", "/v1/users/{user:path}/recommendations"): (schemas.UserAnswer,),
    ("POST", "/v1/recommendations"): (schemas.UserAnswer, schemas.UsersAnswer),
    ("GET", "/v1/users/{user:path}"): (schemas.Record,),
    **{("POST", path): (tensors.InferAnswer,) for path in INFER},
}
IN_PATH = re.compile(r"{(\w+)(?::path)?}")
TEXT = {"type": "string"}
QUERY = [
    {"name": "k", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": 10}},
    {"name": "exclude_seen", "in": "query", "schema": {"type": "boolean"}},
    {"name": "where", "in": "query", "schema": {"type": "string", "example": "year >= 1990"}},
    {"name": "now", "in": "query", "schema": TEXT},
    *({"name": name, "in": "query", "schema": {"type": "array", "items": TEXT}} for name in ("exclude", "only")),
]
REFUSED = {
    "400": "what was sent is no such request",
    "401": "the token is missing or another",
    "404": "nothing is there",
    "408": "the body did not come in time",
    "413": "the body is too long",
    "415": "the body is no JSON, or compressed",
    "429": "too much waits; send it again",
    "503": "no bundle is ready, or the store does not answer; send it again",
}


def document(summaries: Mapping[Operation, str]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    kinds = [ProblemDetails, *BODIES.values(), *(kind for found in ANSWERS.values() for kind in found)]
    references, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    reference = dict(zip(kinds, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), summary in summaries.items():
        about = paths.setdefault(path.replace(":path", ""), {})
        about[method.lower()] = _operation((method, path), summary, reference)
    return {
        "openapi": "3.1.0",
        "info": {"title": "deployrec", "version": __version__},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def pages(described: dict[str, Any]) -> dict[Operation, Handler]:
    """The routes of the document, and of a page that shows it."""
    content, shown = msgspec.json.encode(described), render(described)

    async def openapi_json(request: Request) -> Response:
        return Response(content, media_type="application/json")

    async def docs(request: Request) -> Response:
        return HTMLResponse(shown)

    return {("GET", "/openapi.json"): openapi_json, ("GET", "/docs"): docs}


def _operation(operation: Operation, summary: str, reference: Mapping[Any, Any]) -> dict[str, Any]:
    method, path = operation
    problem = {"content": {MEDIA_TYPE: {"schema": reference[ProblemDetails]}}}
    about: dict[str, Any] = {
        "summary": " ".join(summary.split()),
        "parameters": [
            *map(_in_path, IN_PATH.findall(path)),
            *(QUERY if path.endswith("/recommendations") and method == "GET" else []),
        ],
        "responses": {status: {"description": why, **problem} for status, why in REFUSED.items()},
    }
    if operation in BODIES:
        about["requestBody"] = {"required": True, "content": _json(reference[BODIES[operation]])}
    if operation in ANSWERS:
        found = [reference[kind] for kind in ANSWERS[operation]]
        about["responses"]["200"] = {
            "description": "the answer", "content": _json(found[0] if len(found) == 1 else {"anyOf": found})
        }  # fmt: skip
    elif method == "DELETE":
        about["responses"]["204"] = {"description": "erased"}
    else:
        about["responses"]["200"] = {"description": "yes"}
    return about


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}

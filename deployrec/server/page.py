"""The page that shows the API's description: plain HTML, which loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import msgspec

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{font-size:1.1rem;margin:2rem 0 0}table{border-collapse:collapse}td{padding:.1rem 1rem .1rem 0;vertical-align:top}
pre{overflow:auto;padding:.5rem;background:#8881}"""


def render(described: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI document: every operation, then every schema that they name."""
    info = described["info"]
    title = escape(f"{info['title']} {info['version']}")
    operations = "".join(
        _operation(method, path, about)
        for path, methods in described["paths"].items()
        for method, about in methods.items()
    )
    schemas = "".join(
        f'<h2 id="{escape(name)}">{escape(name)}</h2><pre>{escape(_text(schema))}</pre>'
        for name, schema in described["components"]["schemas"].items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f'<h1>{title}</h1><p>For programs: <a href="openapi.json">openapi.json</a>{operations}{schemas}</html>'
    )


def _operation(method: str, path: str, about: Mapping[str, Any]) -> str:
    rows = [
        (f"{parameter['name']} ({parameter['in']})", escape(_text(parameter["schema"])))
        for parameter in about["parameters"]
    ]
    if "requestBody" in about:
        rows.append(("body", _links(about["requestBody"])))
    rows += [
        (status, f"{escape(answer['description'])} {_links(answer)}")
        for status, answer in sorted(about["responses"].items())
    ]
    table = "".join(f"<tr><td>{escape(name)}<td>{value}" for name, value in rows)
    return f"<h2>{method.upper()} {escape(path)}</h2>{escape(about['summary'])}<table>{table}</table>"


def _links(holder: Mapping[str, Any]) -> str:
    """To the schemas of a body or an answer."""
    found = [content["schema"] for content in holder.get("content", {}).values()]
    names = [kind["$ref"].rpartition("/")[2] for schema in found for kind in schema.get("anyOf", [schema])]
    return " or ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names)


def _text(schema: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(schema)).decode()

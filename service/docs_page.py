"""`/docs`: the API's description as one page that needs nothing from elsewhere, for machines without the internet.

It is written from the OpenAPI schema, without scripts. `/docs/swagger` has the interactive page, whose scripts a
browser fetches from a CDN; `/docs/openapi.json` the schema itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

Schema = dict[str, Any]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; } pre { overflow: auto; background: #8881; padding: .5rem; }
article { border-top: 1px solid #8886; padding: .5rem 0; } h3 { margin: .5rem 0; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top; }
.method { display: inline-block; min-width: 4rem; font-weight: bold; }
:root { color-scheme: light dark; }
"""


class DocsPage(OpenAPIRenderPlugin):
    """Renders the page."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: Schema) -> bytes:
        """The whole page."""
        info = openapi_schema["info"]
        title = escape(f"{info['title']} {info['version']}")
        body = "".join(_sections(openapi_schema))
        return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>
<h1>{title}</h1><p>{escape(info.get("description", ""))}</p>
<p>A key goes into <code>X-API-Key</code> or <code>Authorization: Bearer</code>.
Errors are problem details (RFC 9457). <a href="/docs/openapi.json">OpenAPI</a>, <a href="/docs/swagger">Swagger UI</a>
(scripts from a CDN).</p>{body}</html>""".encode()


def _sections(schema: Schema) -> Iterator[str]:
    by_tag: dict[str, list[str]] = defaultdict(list)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if isinstance(operation, dict):
                by_tag[operation.get("tags", ["Other"])[0]].append(_operation(method, path, operation))
    for tag, articles in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>{''.join(articles)}"
    shapes = schema.get("components", {}).get("schemas", {})
    yield "<h2>Shapes</h2>"
    for name, shape in shapes.items():
        yield f'<article id="{escape(name)}"><h3>{escape(name)}</h3>{_json(shape)}</article>'


def _operation(method: str, path: str, operation: Schema) -> str:
    head = f'<span class="method">{escape(method.upper())}</span> <code>{escape(path)}</code>'
    words = f"<p>{escape(operation.get('summary', ''))}. {escape(operation.get('description') or '')}</p>"
    parameters = "".join(map(_parameter, operation.get("parameters", [])))
    answers = "".join(_answer(status, answer) for status, answer in operation.get("responses", {}).items())
    return f"<article><h3>{head}</h3>{words}<table>{parameters}{answers}</table></article>"


def _parameter(parameter: Schema) -> str:
    kind = f"{parameter['in']}{', required' if parameter.get('required') else ''}"
    schema = msgspec.json.encode(parameter.get("schema", {})).decode()
    return f"<tr><td><code>{escape(parameter['name'])}</code><td>{escape(kind)}<td><code>{escape(schema)}</code></tr>"


def _answer(status: str, answer: Schema) -> str:
    names = sorted({name for content in answer.get("content", {}).values() for name in _references(content)})
    links = ", ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names)
    return f"<tr><td><code>{escape(status)}</code><td>answer<td>{links or escape(answer.get('description', ''))}</tr>"


def _references(value: Any) -> Iterator[str]:
    """The names of the shapes that a piece of schema refers to."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rsplit("/", 1)[-1]
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _json(value: object) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return f"<pre>{escape(text)}</pre>"

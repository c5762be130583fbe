"""The API's description as one plain page: the usual viewers load their scripts from elsewhere, and we load nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d9dde3, #353b45); --quiet: light-dark(#5b6470, #a3adba); }
body { font: 15px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
section { border-top: 1px solid var(--line); padding: .9rem 0; }
.method { font: 700 .75rem ui-monospace, monospace; padding: .15rem .4rem; border-radius: .3rem;
  background: light-dark(#e3ecfb, #23344f); margin-right: .5rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .88em; }
pre { background: light-dark(#f4f6f8, #1d2127); padding: .7rem; border-radius: .4rem; margin: .4rem 0; }
pre { overflow-x: auto; }
p, dl { margin: .35rem 0; } dd { margin: 0; color: var(--quiet); }
dt { float: left; clear: left; margin-right: .6rem; }
"""


def api_page(openapi: Mapping[str, Any]) -> str:
    """HTML for people; programs read /api/openapi.json."""
    by_tag: dict[str, list[str]] = {}
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation.get("tags", ["other"])[0], []).append(_operation(path, method, operation))
    titles = {"write": "For jobs", "read": "For scripts and people", "health": "Health"}
    groups = "".join(f"<h2>{escape(titles.get(tag, tag))}</h2>{''.join(parts)}" for tag, parts in by_tag.items())
    info = openapi["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>API · Losscast</title>'
        f'<link rel="icon" href="/assets/favicon.svg" type="image/svg+xml"><style>{_STYLE}</style></head><body>'
        f"<h1>Losscast API {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
        '<p>The same for programs: <a href="/api/openapi.json">/api/openapi.json</a> · '
        '<a href="/">Back to the runs</a></p>'
        f"{groups}</body></html>"
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parameters = "".join(
        f"<dt><code>{escape(one['name'])}</code></dt><dd>{escape(_said_of(one))}</dd>"
        for one in operation.get("parameters", ())
        if one["in"] == "query"
    )
    answers = "".join(
        f"<dt><code>{escape(status)}</code></dt><dd>{escape(answer.get('description', ''))}</dd>"
        for status, answer in sorted(operation["responses"].items())
    )
    return (
        f'<section><span class="method">{method.upper()}</span><code>{escape(path)}</code>'
        f"<p><b>{escape(operation.get('summary', ''))}.</b> {escape(operation.get('description', ''))}</p>"
        f"{_examples(operation)}<dl>{parameters}</dl>"
        f"<details><summary>Answers</summary><dl>{answers}</dl></details></section>"
    )


def _said_of(parameter: Mapping[str, Any]) -> str:
    schema = parameter.get("schema", {})
    kinds = schema.get("enum") or [kind.get("type", kind.get("const", "")) for kind in schema.get("anyOf", [schema])]
    described = " or ".join(str(kind) for kind in kinds if kind and kind != "null")
    return f"{described}. {parameter.get('description', '')}".strip()


def _examples(operation: Mapping[str, Any]) -> str:
    media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples = [one["value"] for one in media.get("examples", {}).values()]
    if not examples and "example" in media.get("schema", {}):
        examples = [media["schema"]["example"]]
    return "".join(f"<pre>{escape(json.dumps(example))}</pre>" for example in examples)

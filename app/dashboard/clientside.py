"""Callbacks that run in the browser: their functions stand in static/dashboard/losscast.js."""

from __future__ import annotations

from typing import Any

import dash
from dash import ClientsideFunction
from dash.dependencies import DashDependency


def in_browser(site: dash.Dash, function: str, *dependencies: DashDependency, **options: Any) -> None:
    """Wire a function of `window.dash_clientside.losscast`; a named function needs no inline script."""
    site.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("losscast", function), *dependencies, **options
    )

"""The page at `/`."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from rest_gateway.settings import GatewaySettings


def install(app: FastAPI, settings: GatewaySettings) -> None:
    """Until there is a page, `/` leads to the documentation of the API."""
    app.add_api_route("/", lambda: RedirectResponse("/docs", 307), include_in_schema=False)

"""The schemas of our documents in the reference: handlers write JSON themselves, so FastAPI sees no models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from rest_gateway.predictions.documents import SCHEMAS

if TYPE_CHECKING:
    from fastapi import FastAPI


def add_schemas(app: FastAPI) -> None:
    """Put the schemas under `components` of whatever reference `app` makes."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        _, definitions = models_json_schema(
            [(model, "validation") for model in SCHEMAS], ref_template="#/components/schemas/{model}"
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name, schema in definitions["$defs"].items():
            schemas.setdefault(name, schema)
        return document

    app.openapi = openapi  # type: ignore[method-assign]

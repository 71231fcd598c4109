"""`/reports`: what `make compare` wrote to `runs/` of the working directory, to be read only."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

if TYPE_CHECKING:
    from fastapi import FastAPI

RUNS = Path("runs")
MOST_LISTED = 100
_MOST_HEADLINE_BYTES = 1 << 16
_ENGLISH, _KOREAN = b'name="language" id="en" checked>', b'name="language" id="ko">'
"""A report holds both languages and a switch that works without scripts; `?lang=ko` begins with Korean."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""A report is one file with its styles inside and no scripts."""


def install(app: FastAPI) -> None:
    """Add `/reports` (JSON, newest first) and `/reports/{name}` (HTML, in both languages)."""

    async def all_reports() -> JSONResponse:
        return JSONResponse({"reports": listed(RUNS)}, headers={"Cache-Control": "no-cache"})

    async def one_report(name: str, lang: str = "en") -> Response:
        path = found(RUNS, name)
        if path is None:
            raise HTTPException(404)
        if lang != "ko":
            return FileResponse(path, media_type="text/html", headers=HEADERS)
        page = await asyncio.to_thread(path.read_bytes)
        page = page.replace(_ENGLISH, b'name="language" id="en">', 1)
        return Response(
            page.replace(_KOREAN, b'name="language" id="ko" checked>', 1), media_type="text/html", headers=HEADERS
        )

    app.add_api_route("/reports", all_reports, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/reports/{name}", one_report, methods=["GET", "HEAD"], include_in_schema=False)


def found(runs: Path, name: str) -> Path | None:
    """The report of the run called `name`; None when there is none, or when it would lie outside `runs`."""
    if not _NAME.fullmatch(name):
        return None
    path = (runs / name / "report.html").resolve()
    return path if path.is_file() and path.is_relative_to(runs.resolve()) else None


def listed(runs: Path) -> list[dict[str, Any]]:
    """Name, time of writing (RFC 3339), size in bytes, reference and headline of each report, newest first.

    The headline is what the lab keeps of the run for a list: pair, payloads, ratios and verdicts; null where it kept none.
    """
    if not runs.is_dir():
        return []
    paths = [path for folder in runs.iterdir() if (path := found(runs, folder.name))]
    written = sorted(((path.stat().st_mtime, path) for path in paths), reverse=True)
    return [
        {
            "name": path.parent.name,
            "written_at": datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "bytes": path.stat().st_size,
            "href": f"/reports/{path.parent.name}",
            "headline": _headline(path.with_name("headline.json")),
        }
        for moment, path in written[:MOST_LISTED]
    ]


def _headline(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            read = json.loads(file.read(_MOST_HEADLINE_BYTES))
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None

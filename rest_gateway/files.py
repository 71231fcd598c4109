"""Files of this checkout as pages need them: by type, so that what stands beside them is not served."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Scope

SERVED = frozenset({".css", ".js", ".svg"})


class PageFiles(StaticFiles):
    """Scripts, styles and pictures of one folder; anything else is not there."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if PurePath(path).suffix not in SERVED:
            raise HTTPException(404)
        return await super().get_response(path, scope)

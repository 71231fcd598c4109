"""What each main state looks like, against a small picture of it: a part that is gone, moved or unstyled shows at a glance.

A state is drawn, shrunk to a grid of greys and compared with `screens.json`; fonts and numbers differ between machines, and
that small they hardly show. `UPDATE_SCREENS=1` writes the pictures anew: look at the pages before you commit them.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")

pytestmark = pytest.mark.browser
KEPT = Path(__file__).with_name("screens.json")
COLUMNS, ROWS = 32, 24
MOST_DIFFERENT = 14.0
"""Mean difference of greys, of 255, that fonts, times and dots may make; a page without its styles differs by more than 30."""
RESULT = "rest-binary/65536:grpc:1.9:1.8:2.1,65536:grpc-lean:1.05:0.97:1.2,256:grpc:0.5:0.4:0.6,4096:grpc:0.8:0.75:0.9"
LOOKS = {
    "wide-light-en": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", "locale": "en-US"},
    "phone-dark-ko": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "locale": "ko-KR"},
}


def states(page):
    """Each state's name, once the page shows it."""
    yield "answered"
    page.locator("#race").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('#race').scrollIntoView()")
    yield "crossover"
    page.evaluate("document.querySelector('#answers').scrollIntoView()")
    yield "answers"


def shrunk(page):
    picture = Image.open(io.BytesIO(page.screenshot())).convert("L")
    return np.asarray(picture.resize((COLUMNS, ROWS), Image.Resampling.BOX), dtype=np.float64)


@pytest.mark.parametrize("look", LOOKS)
def test_each_state_looks_as_it_did(open_page, look):
    """The first screen, the crossover with a result, and the answers."""
    page = open_page(f"/?payload=65536&racers=grpc,grpc-lean,rest-binary&result={RESULT}", **LOOKS[look])
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for state in states(page):
        seen = shrunk(page)
        if os.environ.get("UPDATE_SCREENS"):
            kept[f"{state}-{look}"] = ["".join(f"{int(grey):02x}" for grey in row) for row in seen]
            continue
        rows = kept[f"{state}-{look}"]
        expected = np.array([list(bytes.fromhex(row)) for row in rows], dtype=np.float64)
        assert np.abs(seen - expected).mean() <= MOST_DIFFERENT, state
    if os.environ.get("UPDATE_SCREENS"):
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")


def test_a_page_without_its_styles_is_noticed(open_page):
    """The comparison can fail: the same page without its style sheets is far from its picture."""
    page = open_page(**LOOKS["wide-light-en"])
    page.evaluate("document.querySelectorAll('link[rel=stylesheet]').forEach((sheet) => sheet.remove())")
    rows = json.loads(KEPT.read_text())["answered-wide-light-en"]
    expected = np.array([list(bytes.fromhex(row)) for row in rows], dtype=np.float64)
    assert np.abs(shrunk(page) - expected).mean() > MOST_DIFFERENT

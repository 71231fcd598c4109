"""How every figure looks, and how it gets into the page: SVG whose text and lines take the page's own colours."""

from __future__ import annotations

import colorsys
import contextlib
import io
import re
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape, unescape
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from crossover.comparison.report.korean import said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRID, BAND, BAD, SOFT = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
"""Stand-ins that the page replaces by its own colours, so that one picture serves light and dark."""
_PAGE_COLOURS = {INK: "currentColor", GRID: "var(--rule)", BAND: "var(--band)", BAD: "var(--bad)", SOFT: "var(--soft)"}

UPSTREAM_COLOURS = {
    "inprocess": ("#6a707a", "#a5abb4"),
    "grpc": ("#1d6f7a", "#5bb3bf"),
    "grpc-typed": ("#2c7a49", "#7cc596"),
    "grpc-lean": ("#0f5560", "#9ad3db"),
    "grpc-stream": ("#3a62a8", "#86a8e6"),
    "rest": ("#a85c14", "#e0a05a"),
    "rest-binary": ("#97406f", "#d58bb4"),
    "rest-protobuf": ("#8a6d00", "#d9c05a"),
    "grpc-coalesced": ("#5a6b1f", "#b5c46a"),
    "rest-coalesced": ("#7a4bb0", "#bb9be6"),
}
"""In light and in dark, as the gateway's page has them (rest_gateway/page/static/base.css)."""
ARM_COLOURS = {
    **UPSTREAM_COLOURS,
    "grpc-lean-both": ("#4b3fa0", "#a9a0f0"),
    "grpc-again": ("#7d7f84", "#8e9198"),
    "control": ("#b0407d", "#e59ac5"),
    "rest-fastapi": ("#6e3f17", "#c99468"),
    "rest-stock": ("#c2502e", "#f2967a"),
    "rest-stock-binary": ("#7d7420", "#c9bf5e"),
    "grpc-json": ("#3f7f82", "#7fc4c6"),
    "grpc-stock": ("#3f7d36", "#8ac681"),
    "grpc-stock-raw": ("#27582a", "#a3d3a0"),
}
"""Of each arm, in light and in dark; no colour means two arms, and none of them means anything else."""
_OTHERS = (
    "grpc-client", "rest-client", "rest-stdlib", "rest-base64", "rest-no-keepalive", "rest-httpx",
    "rest-aiohttp", "rest-hypercorn", "rest-http2", "rest-httpx2", "rest-http2-tls", "rest-http3", "rest-gzip",
    "rest-blocking", "rest-one-connection", "rest-unix", "grpc-unix", "grpc-stock-sync", "connect", "grpc-gzip",
    "grpc-blocking", "rest-again", "rest-h2", "rest-tls-resumed", "grpc-web",
)  # fmt: skip
"""Arms that are seldom measured: their colours are steps around the circle of hues."""


def _hue(number: int) -> tuple[str, str]:
    """The colour with this number in light and in dark; neighbours in number are far apart in hue."""
    hue = (0.93 + number * 0.381966) % 1
    shades = (colorsys.hls_to_rgb(hue, lightness, 0.42) for lightness in (0.37, 0.73))
    light, dark = ("#" + "".join(f"{round(255 * part):02x}" for part in shade) for shade in shades)
    return light, dark


ARM_COLOURS |= {name: _hue(number) for number, name in enumerate(_OTHERS)}
VERDICT_COLOURS = {"grpc": INK, "rest": INK, "equal": INK, "undecided": SOFT, "invalid": BAD}
"""A verdict has no colour of a side: words say which; what is undecided is paler."""
_MOST_IN_A_ROW = 3
_NARROW_WIDTH = 4.2
_TEXT = re.compile(r"<text(?P<attributes>[^>]*)>(?P<label>[^<]+)</text>")
_is_narrow: ContextVar[bool] = ContextVar("narrow", default=False)

_RC: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.transparent": True,
}

mpl.rcParams.update(_RC)


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure with the words that stand for it."""

    name: str
    title: str
    alternative: str
    """What the picture shows, for who cannot see it."""
    figure: Figure

    def svg(self, variant: str = "") -> str:
        """The picture as an inline SVG element; it follows the page's colours. `variant` tells its ids from another's."""
        own = self.name + variant
        buffer = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        for stand_in, colour in _PAGE_COLOURS.items():
            text = text.replace(stand_in, colour)
        for name, (light, _) in ARM_COLOURS.items():
            text = text.replace(light, f"var(--arm-{name})")
        for number, (light, _) in enumerate(_PAIRS):
            text = text.replace(light, f"var(--pair-{number})")
        text = _TEXT.sub(_in_both_languages, text)
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
        # Ids are unique in the page, not only in the picture.
        text = re.sub(r'id="([^"]+)"', rf'id="{own}-\1"', text)
        text = re.sub(r'(href="#|url\(#)', rf"\1{own}-", text)
        label = f'role="img" aria-label="{escape(self.alternative, quote=True)}"'
        return text.replace("<svg ", f"<svg {label} ", 1)


def colour(arm: str) -> str:
    """An arm's colour, the same in every figure and on the gateway's page."""
    return (ARM_COLOURS.get(arm) or ARM_COLOURS["inprocess"])[0]


def css() -> str:
    """The colours of arms and pairs as CSS variables, for light and dark."""
    named = {f"arm-{name}": pair for name, pair in ARM_COLOURS.items()}
    named |= {f"pair-{number}": pair for number, pair in enumerate(_PAIRS)}
    light, dark = (" ".join(f"--{name}: {pair[i]};" for name, pair in named.items()) for i in (0, 1))
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


@contextlib.contextmanager
def narrow() -> Iterator[None]:
    """Figures made within are for a phone: one panel below the other."""
    token = _is_narrow.set(True)
    try:
        yield
    finally:
        _is_narrow.reset(token)


def _in_both_languages(found: re.Match[str]) -> str:
    """A label twice, where Korean has another; the page shows one of them."""
    english = unescape(found["label"])
    korean = said(english)
    if korean == english:
        return found[0]
    return "".join(
        f'<text lang="{language}"{found["attributes"]}>{escape(label)}</text>'
        for language, label in (("en", english), ("ko", korean))
    )


_PAIRS = (
    ("#332288", "#a99ef2"), ("#117733", "#74c99a"), ("#882255", "#e0a0c0"), ("#6b6b1f", "#d6c66a"), ("#2277aa", "#88ccee"),
    ("#aa4466", "#ee99aa"), ("#447755", "#a6d5b4"), ("#775577", "#cfa9cf"), ("#555555", "#c4c4c4"), ("#225566", "#93bccb"),
)  # fmt: skip
"""After Tol's muted scheme, in light and in dark: none of them is an arm's colour."""


def of_many(index: int) -> str:
    """A colour for the line with this number, for lines that are no arms."""
    return _PAIRS[index % len(_PAIRS)][0]


def legend(figure: Figure, axes: list[Axes], columns: int = 4) -> None:
    """One legend for all panels, below them, where it hides nothing."""
    columns = 2 if _is_narrow.get() else columns
    found = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if found:
        figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns, fontsize=8)


def panels(count: int, height: float = 3.0, width: float = 9.4, *, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """`count` panels, in rows of at most three; `height` is that of a row."""
    columns = 1 if _is_narrow.get() else min(count, _MOST_IN_A_ROW)
    width = _NARROW_WIDTH if _is_narrow.get() else width
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width, rows * height), squeeze=False, sharey=share_y)
    plt.close(figure)
    for unused in axes.ravel()[count:]:
        unused.set_visible(False)
    return figure, list(axes.ravel()[:count])

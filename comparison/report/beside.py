"""A run beside the published ones, and the sentences of a document beside all of them, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.comparison.design import naming
from crossover.comparison.network.profiles import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.analysis.published import Claim, Standing

_MOST_TOLD = 4
_METRICS = {"p50": "median latency", "cpu": "CPU"}


def published(found: Sequence[dict[str, Any]]) -> list[str]:
    """One sentence for each published run that has cells in common with this one."""
    return [_beside(one) for one in found]


def counted(one: dict[str, Any]) -> str:
    """The same in numbers alone, for a page whose table has the cells."""
    return (
        f"{one['row']}: {one['shared']} ratio{'s' * (one['shared'] != 1)} in common; another side is ahead in {len(one['sign'])}, "
        f"the same side by another size in {len(one['size'])}."
    )


def _beside(one: dict[str, Any]) -> str:
    machine = one["machine"]
    where = ", ".join(
        filter(None, (machine.get("processor"), f"{machine['cpus']} CPUs" if machine.get("cpus") else ""))
    )
    common = f"{one['shared']} ratio{'s' * (one['shared'] != 1)} in common"
    told = [f"Beside the published run {one['row']}{f' ({where})' if where else ''}, {common}"]
    if one["sign"]:
        told.append(f"another side is ahead in {len(one['sign'])}: {_cells(one['sign'])}")
    if one["size"]:
        told.append(f"same side, another size in {len(one['size'])}: {_cells(one['size'])}")
    if len(told) == 1:
        return f"{told[0]}: none differs."
    return f"{told[0]}: {'; '.join(told[1:])}."


def _cells(cells: list[dict[str, Any]]) -> str:
    said = [
        f"{' / '.join(cell['pair'])} at {naming.size(cell['payload_bytes'])}"
        f"{'' if cell['network'] == LOOPBACK else ' over ' + cell['network']}, {_METRICS[cell['metric']]} "
        f"{cell['here']:.2f} here, {cell['there']:.2f} there"
        for cell in cells[:_MOST_TOLD]
    ]
    more = len(cells) - len(said)
    return ", ".join(said) + (f", and {more} more" if more > 0 else "")


def claim(one: Claim, found: Standing) -> str:
    """How a sentence stands on the rows, in a line."""
    of = len(found.holds) + len(found.fails)
    said = f"line {one.line}: holds on {len(found.holds)} of {of}"
    if found.fails:
        said += f", not on {', '.join(found.fails)}"
    if found.silent:
        said += f"; {', '.join(found.silent)} {'says' if len(found.silent) == 1 else 'say'} nothing of it"
    if not found.agrees(one):
        said += f" - the document says {one.holds} of {one.of}"
    return said

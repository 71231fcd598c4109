"""Names that no lookup can be asked for."""

from __future__ import annotations

import pytest

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.wires import WIRES, Target, connect

REMOTE = [name for name, wire in WIRES.items() if wire.kind != "process"]


@pytest.mark.parametrize("wire", REMOTE)
@pytest.mark.parametrize("host", ["a..b", "x" * 64])
async def test_what_is_no_name_is_not_reached(wire, host):
    """Over every wire it is UNAVAILABLE like a host that there is not, and no exception of the codec of names."""
    client = connect(wire, Target(grpc=f"{host}:1", rest=f"http://{host}:1"))
    try:
        with pytest.raises(InferenceError) as caught:
            await client.server_ready(CallContext(deadline.after(20)))
    finally:
        await client.close()
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.unprocessed

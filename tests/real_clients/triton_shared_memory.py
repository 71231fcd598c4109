"""Run in .venv-clients: tritonclient with tensors in system shared memory. Arguments: http or grpc, address, the gateway's."""

import importlib
import os
import sys
import uuid

import numpy as np
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

KIND, ADDRESS, GATEWAY = sys.argv[1:]
module = importlib.import_module(f"tritonclient.{KIND}")
client = module.InferenceServerClient(ADDRESS)
UNIQUE = uuid.uuid4().hex


def refused(says, call, *arguments):
    try:
        call(*arguments)
    except InferenceServerException as error:
        assert says in str(error), f"{error} does not say {says}"
        return
    raise AssertionError(f"nothing was refused; expected {says}")


def ask(name, array, size, region="in", offset=0, into="out", into_size=None, client=client, module=module):
    tensor = module.InferInput("x", list(array.shape), name)
    tensor.set_shared_memory(region, size, offset)
    output = module.InferRequestedOutput("y")
    output.set_shared_memory(into, into_size or size, 8)
    return client.infer(f"echo-{name}", [tensor], outputs=[output])


def shown(answer, name):
    found = answer.get_output(name)
    return found["shape"] if KIND == "http" else list(found.shape)


client.unregister_system_shared_memory()
client.unregister_cuda_shared_memory()
regions = {name: shm.create_shared_memory_region(name, f"/{UNIQUE}{name}", 1 << 16) for name in ("in", "out")}
try:
    for name in regions:
        client.register_system_shared_memory(name, f"/{UNIQUE}{name}", 1 << 16)
    status = client.get_system_shared_memory_status("in")
    assert str(1 << 16) in str(status), status
    refused("already in manager", client.register_system_shared_memory, "in", f"/{UNIQUE}in", 16)
    numbers = np.arange(64, dtype=np.float32).reshape(8, 8)
    shm.set_shared_memory_region(regions["in"], [numbers], offset=4)
    answer = ask("FP32", numbers, numbers.nbytes, offset=4)
    assert shown(answer, "y") == [8, 8]
    np.testing.assert_array_equal(shm.get_contents_as_numpy(regions["out"], np.float32, [8, 8], offset=8), numbers)
    texts = np.array([[b"a", "ä".encode()], [b"", b"x" * 300]], dtype=object)
    packed = serialize_byte_tensor(texts)
    shm.set_shared_memory_region(regions["in"], [packed])
    ask("BYTES", texts, len(packed.item()))
    got = shm.get_contents_as_numpy(regions["out"], np.object_, [2, 2], offset=8)
    assert got.tolist() == texts.tolist()
    # an output comes in the message where only the input lies in shared memory
    tensor = module.InferInput("x", [8, 8], "FP32")
    shm.set_shared_memory_region(regions["in"], [numbers])
    tensor.set_shared_memory("in", numbers.nbytes)
    np.testing.assert_array_equal(client.infer("echo-FP32", [tensor]).as_numpy("y"), numbers)
    # and the other way round
    tensor.set_data_from_numpy(numbers + 1)
    output = module.InferRequestedOutput("y")
    output.set_shared_memory("out", numbers.nbytes)
    client.infer("echo-FP32", [tensor], outputs=[output])
    np.testing.assert_array_equal(shm.get_contents_as_numpy(regions["out"], np.float32, [8, 8]), numbers + 1)
    refused("Unable to find shared memory region: 'nobody'", ask, "FP32", numbers, 256, "nobody")
    refused("Invalid offset + byte size", ask, "FP32", numbers, 256, "in", (1 << 16) - 8)
    refused("takes 256 bytes", ask, "FP32", numbers, 252)
    refused("has 256 bytes, but its place", ask, "FP32", numbers, 256, "in", 0, "out", 255)
    refused("not the name of a shared memory object", client.register_system_shared_memory, "up", "/../etc/passwd", 16)
    refused("unable to open", client.register_system_shared_memory, "none", f"/{UNIQUE}none", 16)
    refused("takes 65537 bytes from 0 on", client.register_system_shared_memory, "long", f"/{UNIQUE}in", (1 << 16) + 1)
    os.truncate(f"/dev/shm/{UNIQUE}in", 100)
    refused("smaller than it was", ask, "FP32", numbers, 256)
    client.unregister_system_shared_memory("in")
    refused("Unable to find shared memory region: 'in'", ask, "FP32", numbers, 256)
    refused("Unable to find shared memory region: 'in'", client.get_system_shared_memory_status, "in")
    if KIND == "http":
        gateway = module.InferenceServerClient(GATEWAY)
        refused("[501]", gateway.register_system_shared_memory, "in", f"/{UNIQUE}in", 16)
        refused("[501]", gateway.get_system_shared_memory_status)
        refused("[501]", lambda: ask("FP32", numbers, 256, client=gateway))
finally:
    client.unregister_system_shared_memory()
    for region in regions.values():
        shm.destroy_shared_memory_region(region)
print("passed", KIND)

"""One ONNX model in ONNX Runtime: its ports, and a run from tensors to tensors.

ONNX Runtime's Python binding takes and gives numpy arrays, except for two types. Strings must be `str` (bytes would
become their repr), so BYTES must be UTF-8 here. bfloat16 has no numpy type there and travels as an OrtValue over the
same 16 bits.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossover.model_server.model_error import ModelError
from crossover.model_server.release import SESSION_RUN
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.model_server.runtime_reason import reason_of
from crossover.protocol.datatypes import BY_ONNX, Datatype
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.tensors import Tensor

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

ort.disable_telemetry_events()
ort.set_default_logger_severity(4)  # what a caller or operator must know is said by us, once

BFLOAT16 = 16
"""onnx.TensorProto.BFLOAT16."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output as the graph declares it; -1 stands for a dimension that varies."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    optional: bool = False
    ranked: bool = True
    """False when the graph declares no shape at all: any number of dimensions fits, and `shape` is only [-1]."""


def check_providers(names: Sequence[str]) -> None:
    """ValueError unless this ONNX Runtime has every one of these execution providers; it would fall back in silence."""
    present = ort.get_available_providers()
    missing = [name for name in names if name not in present]
    if missing or not names:
        raise ValueError(f"ORT_PROVIDERS is '{','.join(missing)}'; this ONNX Runtime has {', '.join(present)}")


_LEVELS = {
    "disable": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class OnnxSession:
    """A loaded model. `run` may be called from several threads at once."""

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        self._session = _open(path, options)
        self.inputs = [_port(arg, "input") for arg in self._session.get_inputs()]
        self.inputs += [
            _port(arg, "input", optional=True)
            for arg in self._session.get_overridable_initializers()
            if arg.type in BY_ONNX
        ]
        self.outputs = [_port(arg, "output") for arg in self._session.get_outputs()]
        self.output_names = [port.name for port in self.outputs]
        self._rows = {port.name: port.datatype for port in self.outputs}
        self._shrinks = options.arena == "shrink"
        self._values = any(port.datatype.name == "BF16" for port in (*self.inputs, *self.outputs))
        alone = options.intra_op_threads == 1 and not options.parallel
        self.runs_alone = alone and set(options.providers) == {"CPUExecutionProvider"}
        """Whether a run is all work of the thread that calls it."""
        # InferenceSession.run checks names that `binding` has checked already; the binding below it costs half as much
        self._run = self._session._sess.run if SESSION_RUN.check() else self._session.run

    def run(self, inputs: Sequence[Tensor], outputs: list[str], control: RunControl) -> list[Tensor]:
        """The named outputs, with the shapes that they really have. `inputs` fit the ports."""
        try:
            if self._values:
                return self._run_values(inputs, outputs, control)
            feed = {}
            for tensor in inputs:
                array = tensor.array
                is_ready = array.flags.aligned and tensor.datatype.kind != "bytes"
                feed[tensor.name] = array if is_ready else _fed(tensor)
            control.fed = time.monotonic_ns()
            arrays = self._run(outputs, feed, self._shrinking(control) if self._shrinks else control.options)
            control.ran = time.monotonic_ns()
        except InferenceError:
            raise
        except UnicodeDecodeError:
            raise self._not_text(outputs) from None
        except Exception as error:
            raise _runtime_error(error) from error
        tensors = []
        for name, array in zip(outputs, arrays, strict=True):
            row = self._rows[name]
            is_plain = type(array) is np.ndarray and row.kind != "bytes"
            tensors.append(Tensor(name, row, array.shape, array=array) if is_plain else _given(name, row, array))
        return tensors

    def _not_text(self, outputs: list[str]) -> InferenceError:
        """The binding makes `str` of strings, and fails at the first output that is none; it does not say which one."""
        names = " or ".join(f"'{name}'" for name in outputs if self._rows[name].kind == "bytes")
        return invalid(f"output {names} holds bytes that are not UTF-8; ONNX Runtime's strings are text")

    @staticmethod
    def _shrinking(control: RunControl) -> ort.RunOptions:
        """The run's options, with the arena's memory given back after it."""
        if control.options is None:
            control.arm()
        assert control.options is not None
        control.options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return control.options

    def _run_values(self, inputs: Sequence[Tensor], outputs: list[str], control: RunControl) -> list[Tensor]:
        feed = {tensor.name: _fed_value(tensor) for tensor in inputs}
        control.fed = time.monotonic_ns()
        values = self._session.run_with_ort_values(
            outputs, feed, self._shrinking(control) if self._shrinks else control.options
        )
        control.ran = time.monotonic_ns()
        return [_given_value(name, value) for name, value in zip(outputs, values, strict=True)]


class RunControl:
    """One run's handle: once armed, `stop` ends it between two operators, from any thread; stamps in monotonic ns."""

    __slots__ = ("fed", "options", "ran", "stopped")

    def __init__(self) -> None:
        self.options: ort.RunOptions | None = None
        self.stopped = False
        self.fed = 0
        self.ran = 0

    def arm(self) -> None:
        """Make it possible to stop the run; one that stays on the event loop has nobody to stop it."""
        self.options = ort.RunOptions()

    def stop(self) -> None:
        self.stopped = True
        if self.options is not None:
            self.options.terminate = True


def _open(path: Path, options: RuntimeOptions) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.intra_op_threads
    settings.inter_op_num_threads = options.inter_op_threads
    settings.graph_optimization_level = _LEVELS[options.graph_optimization]
    settings.log_severity_level = 4
    settings.execution_mode = ort.ExecutionMode.ORT_PARALLEL if options.parallel else ort.ExecutionMode.ORT_SEQUENTIAL
    settings.enable_cpu_mem_arena = options.arena != "off"
    settings.enable_mem_pattern = options.memory_pattern and not options.parallel
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for key, value in options.session_entries:
        settings.add_session_config_entry(key, value)
    try:
        return ort.InferenceSession(str(path), settings, providers=list(options.providers))
    except Exception as error:
        raise ModelError(reason_of(error, path.parent)) from error


def _runtime_error(error: Exception) -> InferenceError:
    text = reason_of(error)
    if "terminate flag" in str(error):
        return InferenceError(Code.CANCELLED, "the run was stopped before it ended")
    if "INVALID_ARGUMENT" in str(error) or "Invalid" in type(error).__name__:
        return invalid(f"the model refused its inputs: {text}")
    return invalid(f"the model failed on these inputs: {text}")


def _port(arg: ort.NodeArg, what: str, *, optional: bool = False) -> Port:
    row = BY_ONNX.get(arg.type)
    if row is None:
        raise ModelError(f"the {what} '{arg.name}' is a {arg.type}; only plain tensors of OIP datatypes can be served")
    shape = tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in arg.shape)
    return Port(arg.name, row, shape, optional)


def _fed(tensor: Tensor) -> np.ndarray:
    array = tensor.array
    if tensor.datatype.kind != "bytes":
        return array if array.flags.aligned else _aligned(array)
    try:
        text = [element.decode() for element in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise invalid(
            f"input '{tensor.name}' holds bytes that are not UTF-8; ONNX Runtime's strings are text"
        ) from None
    objects = np.empty(len(text), dtype=object)
    objects[:] = text
    return objects.reshape(tensor.shape)


def _aligned(array: np.ndarray) -> np.ndarray:
    """Elements at multiples of their size: kernels may rely on it, and views on a message's bytes do not give it."""
    return array if array.flags.aligned else array.copy()


def _given(name: str, row: Datatype, array: np.ndarray) -> Tensor:
    if row.kind == "bytes" or type(array) is not np.ndarray:
        return Tensor.from_array(name, np.asarray(array))
    return Tensor(name, row, array.shape, array=array)


def _fed_value(tensor: Tensor) -> ort.OrtValue:
    if tensor.datatype.name == "BF16":
        bits = _aligned(np.asarray(tensor.array, order="C")).view(np.uint16)  # ascontiguousarray makes scalars vectors
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(np.asarray(_fed(tensor), order="C"))


def _given_value(name: str, value: ort.OrtValue) -> Tensor:
    row = BY_ONNX[value.data_type()]
    if row.name != "BF16":
        return _given(name, row, value.numpy())
    shape = tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()) if value.tensor_size_in_bytes() else b""
    return Tensor(name, row, shape, raw=raw)

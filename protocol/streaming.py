"""The data that a stream's messages carry beside the tensors, so that many calls can share one stream (ModelStreamInfer).

A stream has one deadline, one cancel and one set of metadata for everything on it, so each request brings its own as
parameters: `crossover_timeout_ms` (integer), `crossover_header_NAME` (text), `crossover_timeline` (true), and, in a
message of its own, `crossover_cancel` (the id of the request to cancel). A reply brings `crossover_timeline` (text), and
an error its code as `crossover_code` and, where it is known, `crossover_retry_after` (seconds) beside Triton's
`error_message`.
"""

from __future__ import annotations

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.propagation import PROPAGATED, propagated
from crossover.protocol.timeline import Timeline
from crossover.protos import inference as pb

TIMEOUT, HEADER, TIMELINE = "crossover_timeout_ms", "crossover_header_", "crossover_timeline"
ORDER, ANY = "crossover-stream-order", "any"
"""Metadata of a stream: answers need not come in the order of the requests."""
TRITON_GRPC_ERROR = "triton_grpc_error"
"""Triton's metadata of a stream: with "true" the first error ends it with a real status."""
LEAVING_ASKED, LEAVING = "crossover-stream-leaving", "crossover_leaving"
"""Metadata of a stream whose client wants to be told when the service is about to stop, and the parameter that says it, in
a reply to no request: the client then closes its side, so that everything that it sent is answered."""
CANCEL, CODE, RETRY_AFTER = "crossover_cancel", "crossover_code", "crossover_retry_after"


def numbered(request: InferRequest, identity: str, context: CallContext) -> InferRequest:
    """The caller's request under the stream's own id, with a unary call's metadata as parameters."""
    parameters = dict(request.parameters)
    timeout_ms = deadline.to_header(context.deadline)
    if timeout_ms is not None:
        parameters[TIMEOUT] = int(timeout_ms)
    if context.timeline is not None:
        parameters[TIMELINE] = True
    if context.headers:
        for name, value in propagated(context.headers).items():
            parameters[HEADER + name] = value
    return InferRequest(
        request.model_name, request.inputs, request.model_version, identity, request.outputs, parameters, request.shared
    )


def take_context(request: InferRequest, context: CallContext) -> None:
    """Move the parameters that `numbered` added into `context`; the smallest deadline wins."""
    parameters = request.parameters
    if not parameters:
        return
    context.deadline = min(context.deadline, _until(parameters.pop(TIMEOUT, None)))
    if parameters.pop(TIMELINE, None) is True:
        context.timeline = Timeline()
    for name in PROPAGATED:
        value = parameters.pop(HEADER + name, None)
        if isinstance(value, str):
            context.headers[name] = value


def _until(value: object) -> float:
    if value is None:
        return deadline.NEVER
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise invalid(f"parameter '{TIMEOUT}' is {value!r}; it takes a positive integer of milliseconds")
    return deadline.after(value / 1000)


def cancel_message(identity: str) -> bytes:
    """The ModelInferRequest that cancels the request called `identity`."""
    message = pb.ModelInferRequest()
    message.parameters[CANCEL].string_param = identity
    return message.SerializeToString()


def cancelled_by(request: InferRequest) -> str | None:
    """The id that a cancelling message names; None when it is an ordinary request."""
    identity = request.parameters.get(CANCEL)
    return identity if isinstance(identity, str) else None


def leaving_message() -> bytes:
    """The ModelStreamInferResponse that says that the service is about to stop."""
    response = pb.ModelInferResponse()
    response.parameters[LEAVING].bool_param = True
    return pb.ModelStreamInferResponse(infer_response=response).SerializeToString()


def error_message(identity: str, error: InferenceError) -> bytes:
    """The ModelStreamInferResponse that tells an error to the request called `identity`."""
    response = pb.ModelInferResponse(id=identity)
    response.parameters[CODE].string_param = error.code.name
    if error.retry_after is not None:
        response.parameters[RETRY_AFTER].double_param = error.retry_after
    return pb.ModelStreamInferResponse(error_message=error.message, infer_response=response).SerializeToString()


def stream_error(text: str, response: InferResponse) -> InferenceError:
    """The error in a stream's reply; UNKNOWN when it has no code of ours."""
    retry_after = response.parameters.get(RETRY_AFTER)
    return InferenceError(
        Code.__members__.get(str(response.parameters.get(CODE)), Code.UNKNOWN),
        text,
        max(0.0, retry_after) if isinstance(retry_after, float) else None,
    )

"""Messages of the Decode service between decode workers and gateways: our types to protobuf and back.

The columns of a step stay the containers protobuf made: nothing is touched once per token here.
"""

from penstock.wire.codec import core_types
from penstock.wire.messages import DecodeCalls, Finished, StepOutputs
from penstock.wire.v1 import decode_pb2 as pb


def calls_to_wire(calls: DecodeCalls) -> pb.DecodeCalls:
    return pb.DecodeCalls(hello=core_types.hello_to_wire(calls.hello), cancelled_handles=calls.cancelled_handles)


def calls_from_wire(message: pb.DecodeCalls) -> DecodeCalls:
    return DecodeCalls(
        hello=core_types.hello_from_wire(message.hello) if message.HasField("hello") else None,
        cancelled_handles=tuple(message.cancelled_handles),
    )


def steps_to_wire(outputs: StepOutputs) -> pb.StepOutputs:
    return pb.StepOutputs(
        step=outputs.step,
        handles=outputs.handles,
        token_ids=outputs.token_ids,
        positions=outputs.positions,
        finished=[_finished_to_wire(finished) for finished in outputs.finished],
        logprobs=[
            pb.HandleLogprobs(handle=handle, logprobs=core_types.logprobs_to_wire(logprobs))
            for handle, logprobs in outputs.logprobs
        ],
    )


def steps_from_wire(message: pb.StepOutputs) -> StepOutputs:
    return StepOutputs(
        step=message.step,
        handles=message.handles,
        token_ids=message.token_ids,
        positions=message.positions,
        finished=tuple(_finished_from_wire(finished) for finished in message.finished),
        logprobs=tuple((entry.handle, core_types.logprobs_from_wire(entry.logprobs)) for entry in message.logprobs),
    )


def _finished_to_wire(finished: Finished) -> pb.Finished:
    return pb.Finished(
        handle=finished.handle,
        reason=finished.reason or "",
        failure=core_types.failure_to_wire(finished.error) if finished.error else None,
        spans=core_types.spans_to_wire(finished.spans),
    )


def _finished_from_wire(message: pb.Finished) -> Finished:
    return Finished(
        handle=message.handle,
        reason=core_types.reason_from_wire(message.reason),
        error=core_types.failure_from_wire(message.failure) if message.HasField("failure") else None,
        spans=core_types.spans_from_wire(message.spans),
    )

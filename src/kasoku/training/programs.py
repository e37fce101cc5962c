"""A net traced into a program for any size of batch, and that program as ONNX."""

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import IO, Any

import torch
from torch import Tensor, nn

from kasoku.optim.flow import mapped, tensors
from kasoku.training.batches import Inputs, size_of

TRACED_ON = 3  # samples, at most: neither 1, which torch takes for fixed, nor the size that the files are tried with
LONGEST = 200  # characters of a reason


def in_order(net: nn.Module, inputs: Inputs) -> Inputs:
    """`inputs` by place as far as `forward` takes them so: exporters read them in its order."""
    bound = inspect.signature(net.forward).bind(*inputs.args, **inputs.named)
    return Inputs(bound.args, bound.kwargs)


def first(inputs: Inputs, count: int) -> Inputs:
    """The first `count` samples; tensors that have no axis of samples are as they are."""
    size = size_of(inputs)

    def cut(tensor: Tensor) -> Tensor:
        return tensor[:count].clone() if tensor.ndim and len(tensor) == size else tensor

    return Inputs(mapped(cut, inputs.args), mapped(cut, dict(inputs.named)))


def traced(net: nn.Module, inputs: Inputs) -> tuple[Any, str]:
    """The program of `net` for any number of samples, and "", or None and the reason why there is none."""
    if (size := size_of(inputs)) < 2:
        return None, f"the batch axis is found by a batch of 2 or more, the data gives {size}"
    few = first(inputs, min(TRACED_ON, size))
    try:
        with quietly():
            program = torch.export.export(net, few.args, dict(few.named), dynamic_shapes=_shapes(net, few))
            for case in (inputs, first(inputs, 1)):
                program.module()(*case.args, **case.named)
    except Exception as error:  # of a foreign forward, whatever it is
        return None, f"torch.export refuses it: {first_line(error)}"
    return program, ""


def _shapes(net: nn.Module, inputs: Inputs) -> Any:
    """The first axis of each tensor as one that may have any length."""
    shapes, batch = torch.export.ShapesCollection(), torch.export.Dim("batch")
    for tensor in tensors(inputs):
        if tensor.ndim and len(tensor) == size_of(inputs):
            shapes[tensor] = {0: batch}
    return shapes.dynamic_shapes(net, inputs.args, dict(inputs.named))


def save_program(program: Any, file: IO[bytes]) -> None:
    with quietly():
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        file.write(buffer.getvalue())


def as_onnx(net: nn.Module, program: Any, inputs: Inputs) -> bytes:
    """`program` as ONNX, its inputs called as the arguments of forward, its outputs by their keys."""
    given, answer = list(named_inputs(net, inputs)), net(*inputs.args, **inputs.named)
    answers = [name for name, _ in _leaves(answer if isinstance(answer, Mapping) else {"output": answer})]
    names = [f"{name}_out" if name in given else name for name in answers]
    with quietly():
        made: Any = torch.onnx.export(program, dynamo=True, verbose=False, input_names=given, output_names=names)
    proto = made.model_proto
    found = {dim.dim_param for value in proto.graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param}
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in found:  # torch's own name of it, such as s77
                dim.dim_param = "batch"
    return proto.SerializeToString()


def named_inputs(net: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """The tensors among `inputs`, each by the argument of forward that it is (a part of)."""
    signature = inspect.signature(net.forward)
    given = dict(signature.bind(*inputs.args, **inputs.named).arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= given.pop(name, {})
    return dict(_leaves(given))


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, value in values.items():
        found = list(tensors(value))
        for index, tensor in enumerate(found):
            yield (name if len(found) == 1 else f"{name}_{index}"), tensor


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:LONGEST]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Inside the block nobody prints or warns: exporters tell their users of each of their own steps."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

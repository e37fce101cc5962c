"""Weights out: a trained net in files that run without kasoku, each loaded back and held against the net itself."""

import importlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from kasoku.faults import ConfigError, Fault
from kasoku.files import EXPORTED, Format, write_whole
from kasoku.optim.flow import evaluating, tensors
from kasoku.training.batches import Inputs, called, size_of
from kasoku.training.copies import copied
from kasoku.training.first_batch import fits
from kasoku.training.programs import as_onnx, first, first_line, in_order, named_inputs, save_program, traced

KEY = "export.formats"
TRACED: tuple[Format, ...] = ("onnx", "torch_export")
PACKAGES: dict[Format, tuple[str, ...]] = {
    "safetensors": ("safetensors",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),  # the last runs the file that was written
}
LARGEST_ONNX = 2**31 - 2**20  # bytes of weights in one file: a protocol buffer ends at 2 GiB

Outputs = list[Tensor]
State = Mapping[str, Tensor]


class Disagreement(Exception):
    """A file gives other outputs than the net."""


@dataclass(frozen=True)
class Compared:
    """The largest difference between two outputs, and the largest that is allowed there."""

    difference: float = 0.0
    allowed: float = 0.0

    @property
    def agree(self) -> bool:
        return self.difference <= self.allowed


@dataclass(frozen=True)
class Written:
    """A file that was written: `error` says why it was not kept, "" for one that agrees with the net."""

    format: Format
    path: Path
    size: int
    compared: Compared
    error: str = ""


@dataclass(frozen=True)
class Exported:
    """The files written, and the reasons for those formats that were not."""

    written: list[Written]
    left_out: dict[Format, str]


def export(net: nn.Module, inputs: Inputs, directory: Path, formats: Sequence[Format] | None = None) -> Exported:
    """Write `net` into `directory` in each of `formats`, and hold each file against it.

    Args:
        net: on the CPU, with its weights.
        inputs: a batch; the first axis of its tensors is the batch, and any size of it in the traced formats.
        formats: None: those that can be had; else each of them.

    Raises:
        ConfigError: a format that was asked for cannot be had, or the net does not take the inputs.
        CannotWrite: the disk is full.
    """
    with evaluating(net), torch.no_grad(), isolate_rng():
        with fits(net, inputs):
            called(net, inputs)
        inputs = in_order(net, inputs)
        whole = _Case(inputs, _answered(net, inputs))
        chosen = list(dict.fromkeys(formats or EXPORTED))
        reasons = {name: reason for name in chosen if (reason := _lacking(name, net))}
        program, reason = traced(net, inputs) if {*TRACED} & {*chosen} - reasons.keys() else (None, "")
        reasons |= {name: reason for name in TRACED if name in chosen and reason and name not in reasons}
        if "onnx" in chosen and "onnx" not in reasons and _size(net) > LARGEST_ONNX:
            reasons["onnx"] = f"its weights are {_size(net):,} bytes, and one file of ONNX holds 2 GiB"
        if formats and reasons:
            raise ConfigError(*(Fault(KEY, name, reason) for name, reason in reasons.items()))
        job = _Job(net, program, [whole, *_smaller(net, inputs)])
        written = [job.write(name, directory / EXPORTED[name]) for name in chosen if name not in reasons]
    return Exported(written, reasons)


def compare(want: Sequence[Tensor], got: Sequence[Tensor]) -> Compared:
    """The output that comes nearest to, or goes furthest beyond, what is allowed.

    Half of the digits that the type of an output holds must be right, measured at its largest value: sums in another
    order cost a few of the last digits, a wrong weight the first ones. Whole numbers must be the same.
    """
    if len(want) != len(got) or any(a.shape != b.shape for a, b in zip(want, got, strict=False)):
        return Compared(math.inf)
    pairs = [_compared(a, b) for a, b in zip(want, got, strict=True)]
    return max(pairs, key=lambda one: (not one.agree, one.difference), default=Compared())


@dataclass(frozen=True)
class _Case:
    """Inputs, and what the net answers to them."""

    inputs: Inputs
    want: Outputs


@dataclass(frozen=True)
class _Job:
    """A net, the program that was traced of it, and the cases that each file is held against, the whole batch first."""

    net: nn.Module
    program: Any
    cases: Sequence[_Case]

    def write(self, name: Format, path: Path) -> Written:
        """Write one file. It takes its name only if it agrees with the net."""
        found: list[Compared] = []
        sizes: list[int] = []

        def verify(part: Path) -> None:
            sizes.append(part.stat().st_size)
            found.append(self._held(name, part))
            if not found[0].agree:
                raise Disagreement(f"differs by {found[0].difference:.3g}, {found[0].allowed:.3g} is allowed")

        try:
            write_whole(path, self._writer(name), verify)
            error = ""
        except Disagreement as raised:
            error = str(raised)
        except (OSError, MemoryError):
            raise
        except Exception as raised:  # of an exporter or a runtime, whatever it is
            error = first_line(raised)
        return Written(name, path, (sizes or [0])[0], (found or [Compared(math.inf)])[0], error)

    def _writer(self, name: Format) -> Callable[[IO[bytes]], object]:
        if name == "onnx":
            return lambda file: file.write(as_onnx(self.net, self.program, self.cases[0].inputs))
        if name == "torch_export":
            return lambda file: save_program(self.program, file)
        state = plain_state(self.net)
        if name == "state_dict":
            return lambda file: torch.save(state, file)
        return lambda file: file.write(importlib.import_module("safetensors.torch").save(state))

    def _held(self, name: Format, path: Path) -> Compared:
        """The file at `path`, loaded and run on each case; those of weights also tensor by tensor."""
        call = _LOADERS[name](path, self.net)
        cases = self.cases if name in TRACED else self.cases[:1]
        found = [compare(case.want, call(case.inputs)) for case in cases]
        return max(found, key=lambda one: (not one.agree, one.difference))


def plain_state(net: nn.Module) -> dict[str, Tensor]:
    """The weights of `net` by name, each a tensor of its own: those that are shared stand under each of their names."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}


def _load_safetensors(path: Path, net: nn.Module) -> Callable[[Inputs], Outputs]:
    return _with_weights(net, importlib.import_module("safetensors.torch").load(path.read_bytes()))


def _load_state_dict(path: Path, net: nn.Module) -> Callable[[Inputs], Outputs]:
    return _with_weights(net, torch.load(path, weights_only=True))


def _with_weights(net: nn.Module, state: State) -> Callable[[Inputs], Outputs]:
    """A copy of `net` that has nothing but the weights in `state`.

    Raises:
        Disagreement: they are not those of `net`.
    """
    own = net.state_dict()
    for name, tensor in state.items():
        if name not in own or not _same(own[name], tensor):
            raise Disagreement(f"holds another {name}")
    twin = copied(net, "mode=export").eval()
    kept = {name: buffer.clone() for name, buffer in twin.named_buffers() if name not in own}  # not persistent
    for tensor in (*twin.parameters(), *twin.buffers()):
        if tensor.is_floating_point():
            tensor.fill_(math.nan)  # what the file lacks shows
    for name, buffer in kept.items():
        twin.get_buffer(name).copy_(buffer)
    twin.load_state_dict(dict(state))
    return lambda inputs: _answered(twin, inputs)


def _load_program(path: Path, net: nn.Module) -> Callable[[Inputs], Outputs]:
    with path.open("rb") as file:
        loaded = torch.export.load(io.BytesIO(file.read())).module()
    return lambda inputs: _answered(loaded, inputs)


def _load_onnx(path: Path, net: nn.Module) -> Callable[[Inputs], Outputs]:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    taken = {one.name for one in session.get_inputs()}

    def call(inputs: Inputs) -> Outputs:
        given = {name: t.numpy() for name, t in named_inputs(net, inputs).items() if name in taken}
        return [torch.as_tensor(value) for value in session.run(None, given)]

    return call


_LOADERS: dict[Format, Callable[[Path, nn.Module], Callable[[Inputs], Outputs]]] = {
    "safetensors": _load_safetensors,
    "state_dict": _load_state_dict,
    "onnx": _load_onnx,
    "torch_export": _load_program,
}


def _same(own: Tensor, other: Tensor) -> bool:
    return own.dtype == other.dtype and torch.equal(own.nan_to_num(), other.nan_to_num())


def _compared(want: Tensor, got: Tensor) -> Compared:
    if not want.is_floating_point() and not want.is_complex():
        return Compared(0.0 if torch.equal(want, got.to(want.dtype)) else math.inf)
    if not torch.equal(want.isnan(), got.isnan()):
        return Compared(math.inf)
    a, b = (tensor.nan_to_num().to(torch.complex128) for tensor in (want, got))
    largest = float(a.abs().max()) if a.numel() else 0.0
    info = torch.finfo(want.dtype)
    return Compared(float((a - b).abs().max()) if a.numel() else 0.0, max(math.sqrt(info.eps) * largest, info.tiny))


def _answered(net: Callable[..., Any], inputs: Inputs) -> Outputs:
    """The tensors that `net` answers with; what it draws is the same at each call."""
    torch.manual_seed(0)
    return [tensor.clone() for tensor in tensors(net(*inputs.args, **inputs.named))]


def _smaller(net: nn.Module, inputs: Inputs) -> list[_Case]:
    """A case of one sample, which is how most nets are asked."""
    one = first(inputs, 1)
    return [_Case(one, _answered(net, one))] if size_of(inputs) > 1 else []


def _lacking(name: Format, net: nn.Module) -> str:
    """The reason why `name` cannot be had, as far as that shows before anything is made; "" if there is none."""
    odd = [key for key, value in net.state_dict().items() if not isinstance(value, Tensor)]
    if odd and name not in TRACED:
        return f"the state dict holds {odd[0]}, which is no tensor"
    absent = [package for package in PACKAGES.get(name, ()) if find_spec(package) is None]
    return f"needs the package {' and '.join(absent)}: pip install 'kasoku[export]'" if absent else ""


def _size(net: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*net.parameters(), *net.buffers()))

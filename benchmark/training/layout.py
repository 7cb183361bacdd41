"""How a run's network and pictures lie in memory, which decides the last bits of its numbers.

With AVX-512 and in bf16, convolutions are fastest channels-last. With AVX2, oneDNN's channels-last kernels are faster
for layers of few channels, up to five times, and slower for layers of many, by a tenth to a half: in the gradient of
the weights, most of all, where the default layout's are reordered into blocks of channels first. Between layers or
directions of one network, conversions cost more than they gain. So a whole network has one layout, that of most of its
layers.
"""

import torch
from torch import nn

from benchmark.arithmetic import Arithmetic
from benchmark.model import MultiTaskModel
from benchmark.training.hardware import Hardware

#: Output channels from which on a convolution is slower channels-last, with AVX2.
WIDE = 128


def lay_out(model: MultiTaskModel, hardware: Hardware, arithmetic: Arithmetic = "native") -> None:
    """Give a network, in place, the memory layout of its runs; pictures follow ``model.memory_format``.

    To be called before an optimiser or a buffer of gradients copies the layout of the parameters.
    """
    model.memory_format = memory_format(model, hardware, arithmetic)
    model.to(memory_format=model.memory_format)  # type: ignore[call-overload]


def memory_format(model: MultiTaskModel, hardware: Hardware, arithmetic: Arithmetic = "native") -> torch.memory_format:
    """The layout of a network's parameters, pictures and features.

    Args:
        model: in portable arithmetic nothing else counts, so that every processor takes the same layout.
        hardware: what a native run computes on.
        arithmetic: of the run.
    """
    avx2 = arithmetic == "portable" or _computes_with_avx2(hardware)
    return torch.contiguous_format if avx2 and is_wide(model) else torch.channels_last


def is_wide(model: nn.Module) -> bool:
    """Whether more than half of the convolutions have ``WIDE`` output channels or more."""
    channels = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    return 2 * sum(count >= WIDE for count in channels) > len(channels)


def _computes_with_avx2(hardware: Hardware) -> bool:
    """Whether that is the best that PyTorch's float32 kernels may use; unknown processors are left channels-last."""
    on_processor = hardware.kind == "cpu" and hardware.precision == "fp32"
    return on_processor and torch.backends.cpu.get_cpu_capability() == "AVX2"

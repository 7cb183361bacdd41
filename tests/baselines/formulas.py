"""Parameters of every sharing pattern by formulas from the widths of stages, without anything that builds a network.

A network is written down as its papers describe it: convolutions with their channels and the areas of their filters,
and numbers of all other parameters, such as 2c of a norm over c channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer; ``keeps`` is whether its map keeps its size, but for a stride."""

    inputs: int
    outputs: int
    area: int = 1
    groups: int = 1
    bias: bool = True
    keeps: bool = True

    @property
    def count(self):
        return self.outputs * (self.area * self.inputs // self.groups + self.bias)

    @property
    def adapted(self):
        """Whether adapters stand beside it: it mixes channels and places, and keeps the map's size."""
        return self.area > 1 and self.groups == 1 and self.keeps


@dataclass(frozen=True)
class Level:
    """One stage: channels that enter and leave, and its layers by those that enter and those between its layers."""

    inputs: int
    outputs: int
    layers: Callable[..., list]

    def count(self, inputs=None, middle=None):
        return total(self.layers(inputs or self.inputs, middle or self.outputs))


@dataclass(frozen=True)
class Network:
    """A backbone: encoder and decoder; ``joins`` is whether other inputs come through a 1×1 convolution."""

    encoder: list[Level]
    decoder: list[Level]
    joins: bool = False


def total(layers):
    return sum(layer.count if isinstance(layer, Layer) else layer for layer in layers)


def convolution(inputs, outputs, area=1):
    return outputs * (area * inputs + 1)


def block(inputs, outputs, area=9):
    """Convolution with bias, and batch norm."""
    return convolution(inputs, outputs, area) + 2 * outputs


# The suite's own backbones.


def row(outputs, layers, doubled=False):
    """3×3 convolutions with batch norms; ``doubled``: one of equal width behind each."""

    def found(inputs, middle):
        ends = [inputs, *[middle] * (layers - 1), outputs]
        pairs = [pair for a, b in pairwise(ends) for pair in ([(a, b), (b, b)] if doubled else [(a, b)])]
        return [part for a, b in pairs for part in (Layer(a, b, 9), 2 * b)]

    return found


def segnet(width, wide=False, deep=False):
    channels = [width, 2 * width, 4 * width, 8 * width, (16 if wide else 8) * width]
    counts = (2, 2, 3, 3, 3)
    down, up = [3, *channels[:-1]], [channels[0], *channels[:-1]]
    encoder = [Level(a, b, row(b, n, deep)) for a, b, n in zip(down, channels, counts, strict=True)]
    decoder = [Level(b, a, row(a, n, deep)) for a, b, n in zip(up, channels, counts, strict=True)]
    return Network(encoder, decoder[::-1])


def unet(width, wide=False, deep=False):
    channels = [width, 2 * width, 3 * width, 4 * width, (12 if wide else 6) * width]
    times = 2 if deep else 1
    encoder = [Level(a, b, row(b, 2 * times)) for a, b in pairwise([3, *channels])]
    decoder = [Level(a + b, a, row(a, times)) for a, b in pairwise(channels)]
    return Network(encoder, decoder[::-1])


def wrn_10_2(width, wide=False, deep=False):
    """A stem; three groups of a pre-activation block (deep: two); a last batch norm."""
    channels = [width, 2 * width, 4 * width, (16 if wide else 8) * width]

    def group(outputs, last):
        def found(inputs, middle):
            ends, parts = [inputs, middle, outputs] if deep else [inputs, outputs], []
            for number, (a, b) in enumerate(pairwise(ends)):
                parts += [2 * a, Layer(a, b, 9), 2 * b, Layer(b, b, 9), *([] if number else [Layer(a, b)])]
            return [*parts, *([2 * outputs] if last else [])]

        return found

    stem = Level(3, width, lambda inputs, middle: [Layer(inputs, width, 9)])
    groups = [Level(a, b, group(b, b == channels[-1])) for a, b in pairwise(channels)]
    return Network([stem, *groups], [])


# Networks of timm, as their papers have them.


def timm(levels):
    """Stages (channels that enter, that leave, layers), and the decoder ``upsample`` over them."""
    encoder = [Level(a, b, lambda *_, layers=layers: layers) for a, b, layers in levels]
    below, decoder = encoder[-1].outputs, []
    for level in encoder[-2::-1]:
        outputs = min(level.outputs, 256)
        decoder.append(Level(below + level.outputs, outputs, row(outputs, 1)))
        below = outputs
    return Network(encoder, decoder, joins=True)


def resnet18():
    """Two blocks of two 3×3 convolutions a stage; a 1×1 one on the shortcut where channels change; no biases."""
    levels = []
    for a, b in pairwise([64, 64, 128, 256, 512]):
        layers = [] if levels else [Layer(3, 64, 49, bias=False), 2 * 64]
        for inputs in (a, b):
            layers += [Layer(inputs, b, 9, bias=False), 2 * b, Layer(b, b, 9, bias=False), 2 * b]
            layers += [] if inputs == b else [Layer(inputs, b, bias=False), 2 * b]
        levels.append((a if levels else 3, b, layers))
    return timm(levels)


def efficientnet_lite0():
    """Inverted residuals that widen six times, no squeeze and excitation; the stem's padding is apart from it."""

    def inverted(a, b, kernel):
        wide = 6 * a
        depthwise = Layer(wide, wide, kernel**2, wide, bias=False)
        return [Layer(a, wide, bias=False), 2 * wide, depthwise, 2 * wide, Layer(wide, b, bias=False), 2 * b]

    layers = [Layer(3, 32, 9, bias=False, keeps=False), 2 * 32]
    layers += [Layer(32, 32, 9, 32, bias=False), 2 * 32, Layer(32, 16, bias=False), 2 * 16]
    rows = [[(24, 2, 3)], [(40, 2, 5)], [(80, 3, 3), (112, 3, 5)], [(192, 4, 5), (320, 1, 3)]]
    levels, entering, channels = [], 3, 16
    for stage in rows:
        for outputs, repeats, kernel in stage:
            for _ in range(repeats):
                layers += inverted(channels, outputs, kernel)
                channels = outputs
        levels.append((entering, channels, layers))
        entering, layers = channels, []
    return timm(levels)


def convnext_atto():
    """Depthwise 7×7, norm, to four times the channels and back, a scale a channel; norm and 2×2 between stages."""
    levels = []
    for (a, b), depth in zip(pairwise([3, 40, 80, 160, 320]), (2, 2, 6, 2), strict=True):
        layers = [2 * a, Layer(a, b, 4, keeps=False)] if levels else [Layer(a, b, 16, keeps=False), 2 * b]
        layers += depth * [Layer(b, b, 49, b), 2 * b, Layer(b, 4 * b), Layer(4 * b, b), b]
        levels.append((a, b, layers))
    return timm(levels)


def attention(channels):
    """Norm, queries, keys and values, projection; norm, to four times the channels and back."""
    wide = 4 * channels
    inside = [Layer(channels, 3 * channels), Layer(channels, channels)]
    return [2 * channels, *inside, 2 * channels, Layer(channels, wide), Layer(wide, channels)]


def swin_tiny():
    """Patches of 4×4, windows of 7×7 with a bias for each offset and head, merging of 2×2 patches, a last norm."""
    levels = []
    for (a, b), depth, heads in zip(pairwise([48, 96, 192, 384, 768]), (2, 2, 6, 2), (3, 6, 12, 24), strict=True):
        layers = [2 * 4 * a, Layer(4 * a, b, bias=False)] if levels else [Layer(3, b, 16, keeps=False), 2 * b]
        layers += depth * [*attention(b), 13 * 13 * heads]
        levels.append((a if levels else 3, b, [*layers, *([2 * b] if heads == 24 else [])]))
    return timm(levels)


def vit_tiny():
    """Patches of 16×16 with 14×14 position embeddings, no class token, twelve blocks, a last norm."""
    rows = [[*(3 * attention(192))] for _ in range(4)]
    rows[0] = [Layer(3, 192, 256, keeps=False), 14 * 14 * 192, *rows[0]]
    rows[3] = [*rows[3], 2 * 192]
    return timm([(3 if number == 0 else 192, 192, layers) for number, layers in enumerate(rows)])


# The patterns.


def heads(tasks, channels):
    """Dense: 3×3, then 1×1. Others: linear."""
    return sum(
        convolution(channels, task.channels) + (convolution(channels, channels, 9) if task.dense else 0)
        for task in tasks
    )


def masks_of_mtan(encoder, decoder):
    """Parameters of the transforms, and of one task's masks."""

    def mask(a, b):
        return block(a, b, 1) + block(b, b, 1)

    reach = [level.outputs for level in encoder]
    path = [reach[-1], *(level.outputs for level in decoder)]
    transforms = sum(block(a, b) for a, b in pairwise([*reach, reach[-1]])) + sum(
        block(a, b) for a, b in pairwise(path)
    )
    masks = mask(reach[0], reach[0]) + sum(mask(2 * c, c) for c in reach[1:])
    return transforms, masks + sum(mask(level.inputs + level.outputs, level.outputs) for level in decoder)


def parameters(name, tasks, network):
    """Of a pattern with its defaults; ``split-wide`` and ``split-deep`` want the network of that variant."""
    dense, count = tasks[0].dense, len(tasks)
    several = count > 1
    encoder, decoder = network.encoder, network.decoder if dense else []
    levels, depth = encoder + decoder, len(encoder)
    each = [level.count() for level in levels]
    whole, shared, towers, deepest = sum(each), sum(each[: depth - 1]), sum(each[depth:]), each[depth - 1]
    gate, c, last = levels[depth - 2].outputs, levels[-2].outputs, levels[-1].outputs
    layers = [part for level in levels for part in level.layers(level.inputs, level.outputs) if isinstance(part, Layer)]
    transforms, masks = masks_of_mtan(encoder, decoder)
    match name:
        case "split" | "split-wide" | "split-deep":
            body = whole
        case "single-task":
            body = count * whole
        case "mtan":
            body = whole + transforms + count * masks
        case "stan":
            body = count * (whole + transforms + masks)
        case "cross-stitch":
            body = count * whole + (len(levels) - 1) * count**2
        case "dense":
            stream = each[0]
            for level in levels[1:]:
                a, end = 2 * level.inputs, level is levels[-1] and dense
                joined = level in encoder and network.joins
                stream += convolution(a, level.inputs) + level.count() if joined else level.count(a, a if end else None)
            body = sum(each[:-1]) + count * stream
        case "mmoe":
            body = shared + 4 * deepest + count * (convolution(gate, 4) + towers)
        case "dselect-k":
            body = shared + 4 * deepest + count * (convolution(gate, 2 * 2) + convolution(gate, 2) + towers)
        case "cgc":
            body = shared + (count + 1) * deepest + count * (convolution(gate, 2) + towers)
        case "ple":
            lower = levels[depth - 3].outputs
            gates = count * (convolution(lower, 2) + convolution(gate, 2)) + convolution(lower, count + 1)
            body = sum(each[: depth - 2]) + (count + 1) * sum(each[depth - 2 : depth]) + gates + count * towers
        case "nddr-cnn":
            body = count * (whole + sum(block(count * level.outputs, level.outputs, 1) for level in levels))
        case "pad-net":
            told = count * several * convolution(c, c, 9)  # attention, and messages of the others
            body = whole - each[-1] + count * (block(c, c) + told + each[-1])
            body += sum(convolution(c, task.channels) for task in tasks)
        case "mti-net":
            scales = [level.outputs for level in encoder[-4:]]
            body = sum(each[:depth]) + count * block(sum(scales), last)
            body += sum(count * block(a + b, a) for a, b in pairwise([*scales, 0]))
            body += sum(count * count * several * convolution(a, a, 9) for a in scales)
            body += sum(convolution(a, task.channels) for a in scales for task in tasks)
            for a in scales[1:] if several else ():
                squeezed = convolution(a, a // 4) + convolution(a // 4, a)
                body += 2 * block(count * a, a, 1) + convolution(a, count * a) + count * squeezed
        case "ltb":
            body = count * whole + several * len(levels) * count**2
        case "branched":
            body = sum(each[:depth]) + count * towers if dense else shared + count * deepest
        case "cross-task-attention":
            own = sum(each[min(depth, len(levels) - 2) :])
            pair = convolution(c, c, 9) + 3 * block(c, c, 1) + c + 2 * convolution(c, c // 2, 9)
            pair += block(c + c // 2, c, 1)
            joins = several * block(count * c, c, 1)
            body = whole - own + count * (own + joins + (count - 1) * pair)
        case "adapters":
            filters = [layer for layer in layers if layer.adapted]
            beside = sum(convolution(layer.inputs, layer.outputs) for layer in filters)
            body = total(filters) + count * (whole - total(filters) + beside)
        case "lora":
            body = whole + sum(4 * (n.area * n.inputs + n.outputs) for n in layers if n.groups == 1)
    return body + heads(tasks, last)

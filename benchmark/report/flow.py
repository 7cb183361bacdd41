"""How an architecture's features flow, as a small picture of two tasks."""

from collections.abc import Iterator
from html import escape

from markupsafe import Markup

from benchmark.model import Flow

#: Stages that are drawn; networks have more.
STAGES = 4
WIDTH, HEIGHT = 52, 26
GAP, LANE = 34, 58
LEFT, TOP = 66, 16
#: Links of lanes of which the shared ones end where the tasks' begin, after so many stages.
SPLITTING, SPLIT = ("branches", "exchanges"), 2
#: What is said of the arrows between lanes, for those who cannot see them.
WORDS = {
    "none": "nothing passes between lanes",
    "feeds": "after every stage, the shared lane feeds the tasks' lanes too",
    "masks": "at every stage, each task's lane takes the shared features through a mask of its own",
    "own masks": "in every lane, features pass from stage to stage through masks",
    "mixes": "after every stage, the lanes' features are mixed",
    "gates": "each head reads a mixture of its own and the shared lanes, by a gate of its own",
    "branches": "the shared lane ends where the tasks' lanes begin",
    "exchanges": "the shared lane ends where the tasks' lanes begin, and these exchange features",
    "filters": "both lanes have the same filters, beside which each has small ones of its own",
}


def diagram(flow: Flow) -> Markup:
    """A figure: lanes of stages from the picture at the left to the tasks' predictions at the right."""
    lanes = len(flow.lanes)
    right = LEFT + STAGES * (WIDTH + GAP)
    size = (right + 96, TOP + (lanes - 1) * LANE + HEIGHT + TOP)
    label = f"{', '.join(f'{kind} lane' for kind in flow.lanes)}; {WORDS[flow.links]}; a head for each of two tasks"
    parts = [*_stages(flow), *_entrances(flow), *_links(flow), *_heads(flow, right)]
    head = (
        f'<svg class="figure" viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(label)}" '
        f'style="max-width:{size[0] * 1.25:.0f}px">'
    )
    words = "Two tasks, A and B, and a few of the stages: filled ones are shared, hollow ones a task’s own. Arrows are "
    notes = {"masks": "; × is a mask", "own masks": "; × is a mask", "gates": "; + is a gate’s mixture"}
    words += f"features{notes.get(flow.links, '')}."
    caption = f'<figcaption class="muted small">{words}</figcaption>'
    return Markup(f'<figure class="flow">{head}{"".join(parts)}</svg>{caption}</figure>')


def _x(stage: int) -> int:
    return LEFT + stage * (WIDTH + GAP)


def _y(lane: int) -> int:
    """Of a lane's middle."""
    return TOP + lane * LANE + HEIGHT // 2


def _arrow(x0: float, y0: float, x1: float, y1: float) -> str:
    """A line with a head at its end, which comes from the left, from above or from below."""
    back, side = (-5, 3)
    tip = f"M{x1 + back} {y1 - side}L{x1} {y1}L{x1 + back} {y1 + side}"
    if x0 == x1:
        sign = 1 if y1 > y0 else -1
        tip = f"M{x1 - side} {y1 + back * sign}L{x1} {y1}L{x1 + side} {y1 + back * sign}"
    return f'<path class="fl" d="M{x0} {y0}L{x1} {y1}{tip}"/>'


def _stages(flow: Flow) -> Iterator[str]:
    for lane, kind in enumerate(flow.lanes):
        for stage in _present(flow, kind):
            box = f'x="{_x(stage)}" y="{_y(lane) - HEIGHT // 2}" width="{WIDTH}" height="{HEIGHT}" rx="4"'
            yield f'<rect class="{"st" if kind == "shared" else "tk"}" {box}/>'
            if stage > _present(flow, kind)[0]:
                yield _arrow(_x(stage) - GAP, _y(lane), _x(stage), _y(lane))


def _present(flow: Flow, kind: str) -> range:
    """The stages that a lane has."""
    if flow.links not in SPLITTING:
        return range(STAGES)
    return range(SPLIT) if kind == "shared" else range(SPLIT, STAGES)


def _entrances(flow: Flow) -> Iterator[str]:
    """The picture feeds every lane but those that start from shared features."""
    late = ("masks", *SPLITTING)
    fed = [lane for lane, kind in enumerate(flow.lanes) if kind == "shared" or flow.links not in late]
    middle = sum(_y(lane) for lane in fed) / len(fed)
    yield f'<text class="al" x="0" y="{middle + 3.5:.1f}">picture</text>'
    for lane in fed:
        yield _arrow(42, middle, LEFT, _y(lane))


def _links(flow: Flow) -> Iterator[str]:
    shared = [lane for lane, kind in enumerate(flow.lanes) if kind == "shared"]
    tasks = [lane for lane, kind in enumerate(flow.lanes) if kind == "task"]
    for stage in range(STAGES):
        if flow.links == "masks":
            for lane in tasks:
                yield from _masked(_x(stage) + WIDTH // 2, shared[0], lane)
        elif stage < STAGES - 1:
            leave, enter = _x(stage) + WIDTH, _x(stage + 1)
            among = [(tasks[:1], tasks[1:]), (tasks[1:], tasks[:1])]
            pairs = {"feeds": [(shared[:1], tasks)], "mixes": among}
            if flow.links in SPLITTING and stage == SPLIT - 1:
                pairs[flow.links] = [(shared[:1], tasks)]
            elif flow.links == "exchanges" and stage >= SPLIT:
                pairs[flow.links] = among
            for sources, targets in pairs.get(flow.links, []):
                yield from (_arrow(leave, _y(a), enter, _y(b)) for a in sources for b in targets)
            if flow.links == "own masks":
                yield from (_mask(leave + GAP // 2 - 2, _y(lane)) for lane in tasks)


def _masked(x: float, shared: int, lane: int) -> Iterator[str]:
    """An arrow from a stage of the shared lane to one of a task's, with a mask on it."""
    side = 1 if lane > shared else -1
    start, end = _y(shared) + side * HEIGHT / 2, _y(lane) - side * HEIGHT / 2
    yield _arrow(x, start, x, end)
    yield _mask(x, (start + end) / 2)


def _mask(x: float, y: float) -> str:
    return f'<circle class="mk" cx="{x}" cy="{y}" r="8"/><text class="tm al" x="{x}" y="{y + 3.5}">×</text>'


def _heads(flow: Flow, right: int) -> Iterator[str]:
    tasks = [lane for lane, kind in enumerate(flow.lanes) if kind == "task"]
    if flow.links == "gates":
        yield from _gates(flow, right)
        return
    ends = [(_y(lane), _y(lane)) for lane in tasks] or [(_y(0), _y(0) - 12), (_y(0), _y(0) + 12)]
    for (start, end), name in zip(ends, "AB", strict=True):
        yield _arrow(right - GAP, start, right + 6, end)
        yield f'<text class="al" x="{right + 12}" y="{end + 3.5}">head of {name}</text>'


def _gates(flow: Flow, right: int) -> Iterator[str]:
    """Each head's mixture of the lanes that it may read."""
    own = [lane for lane, kind in enumerate(flow.lanes) if kind == "task"]
    shared = [lane for lane, kind in enumerate(flow.lanes) if kind == "shared"]
    for k, name in enumerate("AB"):
        sources = sorted([*shared, *own[k : k + 1]])
        y = _y(own[k]) if own else _y(k * (len(flow.lanes) - 1))
        yield from (_arrow(right - GAP, _y(lane), right - 4, y) for lane in sources)
        yield f'<circle class="mk" cx="{right + 4}" cy="{y}" r="8"/>'
        yield f'<text class="tm al" x="{right + 4}" y="{y + 3.5}">+</text>'
        yield f'<text class="al" x="{right + 18}" y="{y + 3.5}">head of {name}</text>'

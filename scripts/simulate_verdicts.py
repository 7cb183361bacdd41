"""Whether verdicts keep their error rate, and what they can tell: simulated boards, looked at after every seed.

    python scripts/simulate_verdicts.py --page docs/verdicts.md            # all tables, in minutes on one core
    python scripts/simulate_verdicts.py --part errors --boards 100         # one of them, to the terminal

Tables go between the marks of their names in the page.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy.special import ndtr, stdtrit
from scipy.stats import beta

import baselines  # noqa: F401 - registers the methods
from benchmark import analysis
from benchmark.analysis.contrasts import Contrasts, contrasts
from benchmark.analysis.looks import ALPHA, FIRST, critical
from benchmark.analysis.moderation import moderate
from benchmark.analysis.race import Family, RaceState, ranking
from benchmark.analysis.verdicts import MARGIN, word
from benchmark.runs.store import Store

#: Rows of a board that are compared with its baseline, and seeds up to which each is looked at.
ROWS, SEEDS = 40, 50
#: Boards that are judged at once, for memory.
BATCH = 250

Draw = Callable[[np.random.Generator, tuple[int, int, int]], np.ndarray]


def gaussian(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Noise of SD 1 in all rows."""
    return rng.normal(size=shape)


def unequal(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """SDs of 0.6 to 1.8, as in the study's pilot, the baseline's among them."""
    return rng.normal(size=shape) * np.exp(rng.uniform(np.log(0.6), np.log(1.8), (*shape[:2], 1)))


def noisy_baseline(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """A baseline of SD 2 among rows of 0.7."""
    return rng.normal(size=shape) * np.where(np.arange(shape[1]) == shape[1] - 1, 2.0, 0.7)[:, None]


def heavy(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Student's t of three degrees of freedom: one run in a hundred lies beyond 4.5 times the quartile's SD."""
    return rng.standard_t(3, size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Exponential noise: many runs a little better, a few much worse."""
    return 1 - rng.exponential(size=shape)


def common(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Half of the variance is the seed's, the same in all rows."""
    return (rng.normal(size=shape) + rng.normal(size=(shape[0], 1, shape[2]))) / np.sqrt(2)


def clustered(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Half of the variance is the seed's, the same in all rows but the baseline, which has its own."""
    shared = rng.normal(size=(shape[0], 1, shape[2])) * (np.arange(shape[1]) < shape[1] - 1)[:, None]
    return (rng.normal(size=shape) + shared) / np.where(np.arange(shape[1]) < shape[1] - 1, np.sqrt(2), 1)[:, None]


def recorded(results: Path) -> Draw:
    """Noise of real records: each row gets the SD of some row of the largest board, its seeds residuals of all.

    The typical row has SD 1.
    """
    board = max(analysis.boards(Store(results).scan()[0]), key=lambda board: len(board.records))
    chosen = analysis.select(analysis.frame(board.records, board.labels), against="mean")
    table = analysis.gains(chosen[chosen["split"] == "test"])[analysis.DELTA].unstack("seed").dropna()
    values = table.to_numpy(dtype=float)
    count = values.shape[1]
    variance, _ = moderate(values.var(axis=1, ddof=1), np.full(len(values), count - 1.0))
    residual = (values - values.mean(axis=1, keepdims=True)) / np.sqrt(variance * (count - 1) / count)[:, None]

    def real(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
        deviation = np.sqrt(variance / np.exp(np.log(variance).mean()))
        return rng.choice(deviation, (*shape[:2], 1)) * rng.choice(residual.ravel(), shape)

    return real


def scenarios(results: Path) -> dict[str, Draw]:
    """By name in the table, how noise is drawn; the last row is the baseline."""
    return {
        "normal": gaussian,
        "normal, SDs 0.6 to 1.8": unequal,
        "normal, baseline of SD 2 among 0.7": noisy_baseline,
        "heavy-tailed (t₃)": heavy,
        "skewed (exponential)": skewed,
        "correlated rows (seed effect in all, ρ = ½)": common,
        "correlated rows (in all but the baseline)": clustered,
        "residuals of real records": recorded(results),
    }


def at(noise: np.ndarray, seeds: int, further: int = 0) -> Contrasts:
    """A board's rows against its last one, after so many seeds, of which the baseline has some more."""
    rows = noise[:, :-1].copy() if further else noise[:, :-1]
    if further:
        rows[..., seeds:] = np.nan
    count = seeds + further
    return contrasts(rows[..., :count], noise[:, -1:, :count], rows=noise.shape[1] - 1)


def upper(bad: int, boards: int) -> float:
    """The upper end of Clopper and Pearson's one-sided 95 % interval of a share."""
    return float(beta.ppf(0.95, bad + 1, boards - bad)) if bad < boards else 1.0


def false_alarms(draw: Draw, boards: int, rows: int, seeds: int, *, seed: int = 0) -> dict[str, float]:
    """Boards on which nothing differs, looked at after every seed.

    Returns:
        ``bad``: boards with a false *better* or *worse* at any look, which are those whose intervals do not all cover 0
        at all looks; ``covered``: share of the single intervals at the last look that do; ``half``: their median half
        width after six seeds over the SD of a difference; ``paired``: share of boards that compare within seeds then.
    """
    rng, bad, covered, half, paired = np.random.default_rng(seed), 0, [], [], []
    for start in range(0, boards, BATCH):
        noise = draw(rng, (min(BATCH, boards - start), rows + 1, seeds))
        wrong = np.zeros(len(noise), dtype=bool)
        for count in range(FIRST, seeds + 1):
            found = at(noise, count)
            missed = (found.low > 0) | (found.high < 0)
            wrong |= missed.any(-1)
            if count == min(6, seeds):
                half.append(np.median(found.half / np.sqrt(found.variance)))
                paired.append(found.paired[:, 0].mean())
        bad += int(wrong.sum())
        covered.append(1 - missed.mean())
    return {"bad": bad, "covered": float(np.mean(covered)), "half": float(np.mean(half)), "paired": np.mean(paired)}


def errors(options: argparse.Namespace) -> str:
    """A/A boards."""
    lines = [
        "| noise | boards with a false verdict at any of 48 looks | upper 95 % bound | single intervals that cover, "
        "last look | boards that pair seeds, 6 seeds |",
        "|---|---|---|---|---|",
    ]
    for name, draw in scenarios(options.results).items():
        found = false_alarms(draw, options.boards, ROWS, SEEDS)
        share, bound = found["bad"] / options.boards, upper(int(found["bad"]), options.boards)
        lines.append(
            f"| {name} | {share:.1%} | {bound:.1%} | {found['covered']:.3%} | {found['paired']:.0%} |".replace(
                "%", " %"
            )
        )
    return "\n".join(lines)


def power(options: argparse.Namespace) -> str:
    """Boards on which ten rows each differ by 0, 1, 2 and 5 points; all rows look again until they are decided."""
    effects = np.repeat([0.0, 1.0, 2.0, 5.0], ROWS // 4)
    shown = (6, 8, 10, 15, 20, 30, 50)
    lines = [
        f"| SD of a row | difference | verdict | {' | '.join(f'{n} seeds' for n in shown)} | half of the rows by |",
        "|---|---|---|" + "---|" * (len(shown) + 1),
    ]
    boards = max(options.boards // 5, 1)
    for deviation in (0.7, 1.0, 1.5):
        rng = np.random.default_rng(1)
        noise = deviation * gaussian(rng, (boards, ROWS + 1, SEEDS))
        noise[:, :-1] += effects[:, None]
        said = np.full((boards, ROWS), "undecided", dtype=object)
        by: dict[int, np.ndarray] = {}
        for count in range(FIRST, SEEDS + 1):
            found = at(noise, count)
            said = np.where(said == "undecided", word(found.low, found.high, MARGIN), said)
            by[count] = said.copy()
        for effect in (0.0, 1.0, 2.0, 5.0):
            for verdict in ("better", "equivalent"):
                share = {n: float((own[:, effects == effect] == verdict).mean()) for n, own in by.items()}
                if max(share.values()) < 0.01:
                    continue
                half = next((str(n) for n, own in share.items() if own >= 0.5), "–")
                cells = " | ".join(f"{share[n]:.0%}".replace("%", " %") for n in shown)
                lines.append(f"| {deviation} | {effect:g} | {verdict} | {cells} | {half} |")
    return "\n".join(lines)


Critical = Callable[[float, np.ndarray], np.ndarray]


def spending(seeds: float, freedom: np.ndarray) -> np.ndarray:
    """What the suite takes."""
    return critical(np.asarray(seeds), freedom, ROWS)


def mixture(seeds: float, freedom: np.ndarray) -> np.ndarray:
    """Robbins' normal mixture, tuned to ten seeds (Howard et al., Annals of Statistics 49, 2021, eq. 14)."""
    error = 2 * np.log(ROWS / ALPHA)
    tuned = 10 / (error + np.log1p(error))
    z = np.sqrt((1 + tuned / seeds) * (error + np.log1p(seeds / tuned)))
    return -stdtrit(freedom, ndtr(-z))


def shared_out(seeds: float, freedom: np.ndarray) -> np.ndarray:
    """Bonferroni over the 48 looks as well."""
    return -stdtrit(freedom, np.full_like(freedom, ALPHA / ROWS / (SEEDS - FIRST + 1) / 2))


def once(seeds: float, freedom: np.ndarray) -> np.ndarray:
    """One look: what looking again costs."""
    return -stdtrit(freedom, np.full_like(freedom, ALPHA / ROWS / 2))


def e_process(seeds: float, freedom: np.ndarray) -> np.ndarray:
    """The t-test's e-process with a Gaussian mixture over the effect in SDs, of prior SD 1, from a row's own seeds.

    (Wang & Ramdas, *Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance*, 2023,
    section 4.) Of paired differences, with a variance of their own for each row.
    """
    grown = 1 + seeds
    level = (ROWS / ALPHA * np.sqrt(grown)) ** (2 / seeds)
    if grown <= level:
        return np.full_like(freedom, np.inf)
    return np.full_like(freedom, np.sqrt((seeds - 1) * (level - 1) / (1 - level / grown)))


METHODS: Mapping[str, tuple[Critical, bool]] = {
    "spent over the looks, moderated variances (the suite's)": (spending, True),
    "the same, each row with a variance of its own": (spending, False),
    "normal mixture, moderated variances": (mixture, True),
    "error shared out over 48 looks, moderated variances": (shared_out, True),
    "e-process of the t-test, variances of its own": (e_process, False),
    "one look only, moderated variances": (once, True),
}


def methods(options: argparse.Namespace) -> str:
    """Half widths of several methods on the same boards, and seeds until half of the rows that differ by 2 are told."""
    shown = (4, 6, 8, 10, 15, 30)
    lines = [
        f"| method | {' | '.join(f'{n} seeds' for n in shown)} | better by 2: half of the rows by | false alarms |",
        "|---|" + "---|" * (len(shown) + 2),
    ]
    noise = gaussian(np.random.default_rng(2), (options.boards, ROWS + 1, SEEDS))
    paired = noise[:, :-1] - noise[:, -1:]
    for name, (width, moderated) in METHODS.items():
        halves: dict[int, float] = {}
        wrong, told, half_by = np.zeros(len(noise), dtype=bool), np.zeros(paired.shape[:2], dtype=bool), "–"
        for count in range(FIRST, SEEDS + 1):
            own = paired[..., :count]
            variance, freedom = own.var(-1, ddof=1), np.full(paired.shape[:2], count - 1.0)
            if moderated:
                variance, freedom = moderate(variance, freedom)
            half, mean = width(float(count), freedom) * np.sqrt(variance / count), own.mean(-1)
            wrong |= (np.abs(mean) > half).any(-1)
            told |= mean + 2 > half
            halves[count] = float(np.median(half))
            if half_by == "–" and told.mean() >= 0.5:
                half_by = str(count)
        cells = " | ".join(f"{halves[n]:.2f}" if np.isfinite(halves[n]) else "∞" for n in shown)
        lines.append(f"| {name} | {cells} | {half_by} | {wrong.mean():.1%} |".replace("%", " %"))
    return "\n".join(lines)


def raced(truth: np.ndarray) -> list[tuple[int, int]]:
    """A race of a board whose last row is the baseline: after each run, how many there were and are decided."""
    rows = len(truth)
    family = Family(np.arange(rows - 1), np.full(rows - 1, rows - 1), rows - 1)
    values, nothing = np.full(truth.shape, np.nan), np.zeros(truth.shape, dtype=bool)
    race_state = RaceState(values, nothing.copy(), nothing, np.ones(rows), np.ones(rows, dtype=bool))
    history = []
    while found := ranking(race_state, [family]):
        row = found[0][1]
        place = row, race_state.next_seed(row)
        values[place], race_state.tried[place] = truth[place], True
        history.append((len(history) + 1, int((~family.judge(values, MARGIN)[1]).sum())))
    return history


def raced_falsely(truth: np.ndarray, runs: int) -> bool:
    """Whether a race of a board on which nothing differs ever says *better* or *worse*, within so many runs."""
    rows = len(truth)
    family = Family(np.arange(rows - 1), np.full(rows - 1, rows - 1), rows - 1)
    values, nothing = np.full(truth.shape, np.nan), np.zeros(truth.shape, dtype=bool)
    race_state = RaceState(values, nothing.copy(), nothing, np.ones(rows), np.ones(rows, dtype=bool))
    for _ in range(runs):
        found = ranking(race_state, [family])
        if not found:
            break
        row = found[0][1]
        place = row, race_state.next_seed(row)
        values[place], race_state.tried[place] = truth[place], True
        judged, _ = family.judge(values, MARGIN)
        if ((judged.low > 0) | (judged.high < 0)).any():
            return True
    return False


def race_errors(options: argparse.Namespace) -> str:
    """False verdicts of races: 21 rows that do not differ, looked at after every run, on draws of their own."""
    draws = {
        "normal, SD 1": gaussian,
        "normal, SDs 0.6 to 1.8": unequal,
        "normal, baseline of SD 2 among 0.7": noisy_baseline,
        "heavy-tailed (t₃)": heavy,
        "real records": recorded(options.results),
    }
    boards = max(options.boards // 3, 1)
    lines = ["| noise | races | with a false verdict at any look | upper 95 % bound |", "|---|---|---|---|"]
    for name, draw in draws.items():
        rng = np.random.default_rng(77)
        bad = sum(raced_falsely(draw(rng, (1, 21, SEEDS))[0], 600) for _ in range(boards))
        lines.append(f"| {name} | {boards} | {bad / boards:.1%} | {upper(bad, boards):.1%} |")
    return "\n".join(lines).replace("%", " %").replace("  %", " %")


def equal_seeds(truth: np.ndarray) -> list[tuple[int, int]]:
    """The same of seeds that all rows get in turn."""
    rows, seeds = truth.shape
    found = []
    for count in range(FIRST, seeds + 1):
        judged = at(truth[None], count)
        decided = word(judged.low, judged.high, MARGIN) != "undecided"
        found.append((rows * count, int(decided.sum())))
    return found


def race(options: argparse.Namespace) -> str:
    """Runs until a share of a board's 20 rows is decided, by a race and by equal seeds, up to 50 seeds of a row."""
    draws = {"normal, SD 1": gaussian, "normal, SDs 0.6 to 1.8": unequal, "real records": recorded(options.results)}
    shares = (0.5, 0.8, 0.9, 1.0)
    lines = [
        f"| noise | {' | '.join(f'{share:.0%} of the rows' for share in shares)} | as many verdicts as the race gets |",
        "|---|" + "---|" * (len(shares) + 1),
    ]
    for name, draw in draws.items():
        rng = np.random.default_rng(3)
        runs: dict[float, list[tuple[float, float]]] = {share: [] for share in (*shares, 2.0)}
        for _ in range(max(options.boards // 100, 1)):
            truth = draw(rng, (1, 21, SEEDS))[0]
            truth[:-1] += rng.normal(0, 4, (20, 1))
            one, other = raced(truth), equal_seeds(truth)
            for share in runs:
                wanted = one[-1][1] if share > 1 else share * 20
                counts = [next((n for n, decided in own if decided >= wanted), None) for own in (one, other)]
                if counts[0] is not None:
                    runs[share].append((counts[0], counts[1] or 21 * SEEDS))
        cells = []
        for own in runs.values():
            mean = np.array(own).mean(0) if own else (np.nan, np.nan)
            cells.append(f"{mean[0]:.0f} of {mean[1]:.0f} (−{1 - mean[0] / mean[1]:.0%})" if own else "–")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines).replace("%", " %")


PARTS: dict[str, Callable[[argparse.Namespace], str]] = {
    "errors": errors,
    "power": power,
    "methods": methods,
    "race": race,
    "race-errors": race_errors,
}


def write(page: Path, name: str, table: str) -> None:
    """Put a table between its marks."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    head, found, rest = page.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} must have the lines {begin.strip()} and {end.strip()}")
    page.write_text(f"{head}{begin}\n{table}\n\n{end}{tail}")


def main() -> None:
    """Simulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", dest="parts", help="default: all")
    parser.add_argument("--boards", type=int, default=1000)
    parser.add_argument("--results", type=Path, default=Path("results"), help="whose noise is drawn from")
    parser.add_argument("--page", type=Path, help="the page whose tables are written; default: to the terminal")
    options = parser.parse_args()
    for part in options.parts or PARTS:
        table = PARTS[part](options)
        if options.page:
            write(options.page, part, table)
        else:
            print(f"{part}\n{table}\n", flush=True)


if __name__ == "__main__":
    main()

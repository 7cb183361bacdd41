"""Every page of a report, as bytes by path."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from packaging.version import InvalidVersion, Version

from benchmark import analysis, atlas, speed, toyproblem
from benchmark.analysis import METHODS, VERDICTS, Board
from benchmark.analysis.across import SideBySide, side_by_side
from benchmark.analysis.boards import row_of
from benchmark.analysis.kinds import is_own
from benchmark.analysis.submitted import Counted
from benchmark.analysis.verdicts import MARGIN
from benchmark.atlas import AtlasRecord
from benchmark.claims import VERDICTS as CLAIM_VERDICTS
from benchmark.claims import ClaimResult, claim_named, claim_names, judge_all
from benchmark.claims.outlook import MOST, outlook_words
from benchmark.errors import UserError
from benchmark.report import cards
from benchmark.report.answers import counted
from benchmark.report.attention import attention_of
from benchmark.report.board import BoardPage, Fill, board_files
from benchmark.report.charts.forest import points
from benchmark.report.charts.marks import Marks, palette_css
from benchmark.report.charts.plot import dash_icon
from benchmark.report.columns import COSTS, DELTA, FLAT, LEGACY_DELTA, RELATIVE, anchor, metrics_of, score_columns
from benchmark.report.data_contents import DataContents, data_contents
from benchmark.report.exports import bibliography
from benchmark.report.judged import SIGNS, summary_sentence
from benchmark.report.links import Links, row_link, run_link, seed_anchor
from benchmark.report.pictures import gallery
from benchmark.report.readings import readings
from benchmark.report.reported import tables
from benchmark.report.rowpage import READINGS, row_page
from benchmark.report.rows import commit, machine
from benchmark.report.speed import NETWORK_COLUMNS, WEIGHTING_COLUMNS, speed_page
from benchmark.report.table import DASH, SAID, written
from benchmark.report.titles import stems, titles
from benchmark.report.toy import toy_page
from benchmark.runs.datacards import read_card
from benchmark.runs.store import Problem, Store
from benchmark.runs.trust import LEVELS, Standing
from benchmark.speed import SpeedRecord
from benchmark.speed import calibration as calibrations
from benchmark.speed.calibration import Calibration
from benchmark.tasks import KINDS
from benchmark.toyproblem import ToyRecord

R = TypeVar("R")

ASSETS = ("style.css", "theme.js", "board.js", "pareto.js", "gallery.js")
#: An address of the web in a text; what ends its sentence is no part of it.
ADDRESS = re.compile(r"(https?://[^\s<>\"'()]*[^\s<>\"'().,;:])")
#: Samples whose attention masks are on a row's page.
RUN_SAMPLES = 2
#: Kinds of pages about one thing, and what they are called.
KINDS_OF_PAGES = {"architectures": "Architecture", "weightings": "Weighting", "datasets": "Data set"}


@dataclass(frozen=True)
class Site:
    """A report before it is written.

    Attributes:
        problems: files that cannot be used, and why.
        waiting: submitted runs that do not count until they are run again here, and why.
        side_by_side: boards whose protocol or backbone alone differs.
    """

    boards: tuple[BoardPage, ...]
    problems: tuple[tuple[str, str], ...]
    rule: str
    toy: ToyRecord | None = None
    speed: tuple[SpeedRecord, ...] = ()
    claims: tuple[ClaimResult, ...] = ()
    atlas: AtlasRecord | None = None
    waiting: tuple[tuple[str, str], ...] = ()
    side_by_side: tuple[SideBySide, ...] = ()

    def page_of(self, board: Board) -> BoardPage:
        """The pages of a board."""
        return next(page for page in self.boards if page.board.key == board.key)

    @cached_property
    def ordered(self) -> list[BoardPage]:
        """The boards, those first that decide most."""
        return sorted(self.boards, key=lambda page: -page.decided)

    @property
    def deciding(self) -> list[BoardPage]:
        """The boards on which anything is decided; ``undecided`` has the others."""
        return [page for page in self.ordered if page.decided]

    @property
    def undecided(self) -> list[BoardPage]:
        """See ``deciding``."""
        return [page for page in self.ordered if not page.decided]

    @cached_property
    def marks(self) -> Marks:
        """One colour per architecture and one marker per weighting."""
        kinds = [row.kind for page in self.boards for row in page.rows]
        weightings = {w for _, w in kinds} | {
            method.weighting.name for method in (self.toy.methods if self.toy else ())
        }
        for record in self.speed:
            weightings |= {row.weighting.name for row in record.weightings}
            kinds += [(component.name, "none") for component in record.networks]
        return Marks.from_pairs(kinds, weightings)

    @cached_property
    def links(self) -> Links:
        """Where the pages of methods and data sets lie."""
        kinds = [row.kind for page in self.boards for row in page.rows]
        return Links.from_names(
            {
                "architectures": [a for a, _ in kinds],
                "weightings": [w for _, w in kinds if w != "none"],
                "datasets": [page.board.dataset.name for page in self.boards],
            }
        )

    @property
    def suite(self) -> str:
        """The newest suite version of the records."""
        versions = {r.provenance.suite_version for page in self.boards for r in page.board.records}
        return max(versions, key=release, default="unknown")


def release(version: str) -> Version:
    """A version for comparison; what is none counts as the oldest."""
    try:
        return Version(version)
    except InvalidVersion:
        return Version("0.dev0")


def render(
    boards: Sequence[Board], submitted: Counted, problems: Sequence[Problem], store: Store, rule: str
) -> Iterator[tuple[str, bytes]]:
    """All files of the report by path, one after another: together they may be large."""
    toy, further = _toy(store)
    surveyed, unsurveyed = _atlas(store)
    times, unusable = _speed(store)
    calibrated, uncalibrated = _calibrations(boards, store)
    pages = tuple(_boards(boards, submitted.foreign, store, rule, calibrated))
    contents = data_contents(pages, store)
    unread = _relative([*problems, *further, *unsurveyed, *unusable, *uncalibrated, *contents.problems], store)
    waiting = tuple((f"{record.spec.label} ({record.id})", reason) for record, reason in submitted.aside)
    site = Site(
        pages,
        tuple(unread),
        rule,
        toy,
        times,
        tuple(_claims(boards)),
        surveyed,
        waiting,
        tuple(side_by_side(boards, rule)),
    )
    fill = _filler(_environment(site))
    for name in ("index.html", "methods.html", "method.html"):
        yield name, fill(name)
    found = tables([page.numbers for page in site.boards], site.marks)
    yield "published.html", fill("published.html", published=found)
    yield "published.bib", bibliography((e.table.citation.bibtex for e in found), "published results", site.suite)
    if surveyed:
        yield "atlas.html", fill("atlas.html")
    if toy:
        yield "toy.html", fill("toy.html", toy=toy_page(toy, site.marks))
    if site.claims:
        yield "claims.html", fill("claims.html")
    if site.side_by_side:
        yield "side-by-side.html", fill("side_by_side.html")
    if times:
        columns = {"network_columns": NETWORK_COLUMNS, "weighting_columns": WEIGHTING_COLUMNS}
        yield "speed.html", fill("speed.html", measured=speed_page(times, site.marks), **columns)
    for page in site.boards:
        kinds = {("architectures", row.kind[0]) for row in page.rows}
        kinds |= {("weightings", row.kind[1]) for row in page.rows if row.kind[1] != "none"}
        kinds.add(("datasets", page.board.dataset.name))
        yield from board_files(page, site.marks, fill, [about(*kind) for kind in sorted(kinds)], site.suite).items()
        yield from _rows(page, site.marks, fill, store)
    yield from contents.files.items()
    yield from _things(site, contents.by_dataset, fill)
    for name in ASSETS:
        content = (files("benchmark.report") / "assets" / name).read_bytes()
        yield f"assets/{name}", palette_css().encode() + content if name == "style.css" else content


def _toy(store: Store) -> tuple[ToyRecord | None, list[Problem]]:
    """The toy problem's record, where it has paths."""
    record, problems = _loaded(toyproblem.load, store, toyproblem.FILE)
    return (record if record and record.methods and record.methods[0].paths else None), problems


def _atlas(store: Store) -> tuple[AtlasRecord | None, list[Problem]]:
    """The atlas's record, where it has pairs."""
    record, problems = _loaded(atlas.load, store, atlas.FILE)
    return (record if record and record.pairs else None), problems


def _loaded(load: Callable[[Path], R | None], store: Store, file: str) -> tuple[R | None, list[Problem]]:
    """A record beside those of runs; an unusable one is a problem of the store like any other."""
    try:
        return load(store.root), []
    except UserError as error:
        return None, [Problem(store.root / file, str(error))]


def _speed(store: Store) -> tuple[tuple[SpeedRecord, ...], list[Problem]]:
    """The records of speed; unusable ones are problems of the store like any other."""
    found, problems = [], []
    for path in speed.files(store.root):
        try:
            record = speed.load(path)
        except UserError as error:
            problems.append(Problem(path, str(error)))
            continue
        if record.architectures or record.weightings or record.growth:
            found.append(record)
    return tuple(found), problems


def _calibrations(boards: Sequence[Board], store: Store) -> tuple[dict[str, Calibration], list[Problem]]:
    """By board's key what its rows' steps cost; unusable files are problems of the store like any other."""
    found, problems = {}, []
    for board in boards:
        try:
            calibration = calibrations.load(store, board)
        except UserError as error:
            problems.append(Problem(store.root / board.dataset.name, str(error)))
            continue
        if calibration:
            found[board.key] = calibration
    return found, problems


def _claims(boards: Sequence[Board]) -> Iterator[ClaimResult]:
    """What the records say of the suite's claims, as far as any of a claim's rows has runs; what is decided first."""
    records = [record for board in boards for record in board.records if record.id not in board.unproven]
    present = {record.spec.dataset.name for record in records}
    asked = [claim for claim in map(claim_named, claim_names()) if present.intersection(claim.datasets)]
    found = judge_all(asked, records, begun=True)
    yield from sorted(found, key=lambda result: (result.verdict == "undecided", result.claim.title))


def _boards(
    boards: Sequence[Board],
    foreign: Mapping[str, Standing],
    store: Store,
    rule: str,
    calibrated: Mapping[str, Calibration],
) -> Iterator[BoardPage]:
    for board, stem, title in zip(boards, stems(boards), titles(boards), strict=True):
        known = calibrated.get(board.key)
        costs = {board.labels[r.id]: known.relative(row_of(r.spec)) for r in board.records} if known else {}
        relative = {row: cost[0] for row, cost in costs.items() if cost}
        offered = readings(board, rule, floor=_floor(board, store), relative=relative)
        submitted = {record.id: foreign[record.id] for record in board.records if record.id in foreign}
        words = known.heading if known and relative else ""
        yield BoardPage(offered, stem, title, gallery(offered[0], store), submitted, words)


def _floor(board: Board, store: Store) -> dict[str, dict[tuple[str, str], float]]:
    """By split what a prediction reaches that never looks at the picture, where it was measured."""
    if board.data_hash is None:
        return {}
    try:
        card = read_card(store, board.dataset.name, board.data_hash)
    except UserError:
        return {}  # it is told among the problems of the data
    return {split: card.floor(split) for split in ("val", "test")} if card else {}


def _rows(page: BoardPage, marks: Marks, fill: Fill, store: Store) -> Iterator[tuple[str, bytes]]:
    """A page per row, with the attention masks of its first run that has any."""
    for row in page.rows:
        shown = row_page(row, marks.colour(row.kind[0]), page.foreign)
        kept = ((record, attention_of(record, store, RUN_SAMPLES)) for record in row.records)
        attending, attention = next((found for found in kept if found[1]), (None, None))
        context = {"page": page, "shown": shown, "attending": attending, "attention": attention}
        yield row_link(row), fill("row.html", root="../", **context)
        yield from attention.files.items() if attention else ()


def _things(site: Site, contents: Mapping[str, tuple[DataContents, ...]], fill: Fill) -> Iterator[tuple[str, bytes]]:
    """A page per architecture, weighting and data set."""
    for (kind, name), path in site.links.pages.items():
        found = []
        for page in site.boards:
            rows = [
                row
                for row in page.rows
                if (kind == "datasets" and page.board.dataset.name == name)
                or (kind == "architectures" and row.kind[0] == name)
                or (kind == "weightings" and row.kind[1] == name)
            ]
            if rows:
                found.append((page, rows))
        contents_here = contents.get(name, ()) if kind == "datasets" else ()
        said = about(kind, name)
        if not said.known and (kept := [one.card.stated for one in contents_here if one.card and one.card.stated]):
            said = cards.as_stated(kept[0])
        known = {"kind": kind, "name": name, "about": said, "found": found, "contents": contents_here}
        yield path, fill("thing.html", root="../", **known)


@cache
def about(kind: str, name: str) -> cards.About:
    """What is known of a method or data set."""
    return cards.about(kind, name)


def _environment(site: Site) -> Environment:
    about.cache_clear()
    environment = Environment(
        loader=PackageLoader("benchmark.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"commit": commit, "code": _code}
    environment.globals |= {
        "site": site,
        "marks": site.marks,
        "links": site.links,
        "root": "",
        "about_of": about,
        "rule": site.rule,
        "rules": analysis.RULES,
        "kinds": {name: tuple(kind.metrics) for name, kind in KINDS.items() if is_own(kind)}
        | {name: metrics for page in site.boards for name, metrics in page.board.kinds.items()},
        "kinds_of_pages": KINDS_OF_PAGES,
        "gains": (DELTA, FLAT, LEGACY_DELTA),
        "scores": [column for dataset in analysis.SCORES for column in score_columns(dataset)],
        "methods_of_intervals": METHODS,
        "costs": (COSTS[0], RELATIVE, *COSTS[1:]),
        "levels": LEVELS,
        "said": SAID,
        "dash": DASH,
        "dash_icon": dash_icon,
        "metrics_of": metrics_of,
        "anchor": anchor,
        "written": written,
        "points": points,
        "signs": SIGNS,
        "summary_sentence": summary_sentence,
        "counted": counted,
        "verdicts": VERDICTS,
        "margin": MARGIN,
        "claim_verdicts": CLAIM_VERDICTS,
        "outlook_words": outlook_words,
        "most_seeds": MOST,
        "run_link": run_link,
        "row_link": row_link,
        "seed_anchor": seed_anchor,
        "machine": machine,
        "commit": commit,
        "readings": READINGS,
    }
    return environment


def _filler(environment: Environment) -> Fill:
    def fill(template: str, **context: Any) -> bytes:
        return environment.get_template(template).render(**context).encode("utf-8", "replace")

    return fill


def _code(text: str) -> Markup:
    """Text with what stands between double backticks as code, and with addresses of the web as links."""
    parts = text.split("``")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 and i < len(parts) - 1 else _linked(part)
        for i, part in enumerate(parts)
    )


def _linked(text: str) -> Markup:
    parts = ADDRESS.split(text)
    return Markup("").join(
        Markup('<a href="{}" rel="noopener noreferrer">{}</a>').format(part, part.partition("://")[2])
        if i % 2
        else escape(part)
        for i, part in enumerate(parts)
    )


def _relative(problems: Sequence[Problem], store: Store) -> list[tuple[str, str]]:
    """Unreadable files by their path inside the store: the store's own path is not published."""
    root = f"{store.root}/"
    return [(str(p.path).removeprefix(root), p.reason.replace(root, "")) for p in problems]

"""The table of waits in docs/devices.md, from the numbers that the rehearsal holds the suite to."""

import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "devices.md"
#: Between these lines of the page stands the table.
BEGIN, END = "<!-- begin of the table -->", "<!-- end of the table -->"
TITLES = {
    "step": "a step of the weighting `{}`",
    "batch": "a batch, pictures `{}`",
    "epoch": "an epoch: {}",
    "evaluation": "an evaluation of a split: {}",
}


def table() -> str:
    """One row for each number of ``waits.toml``; weightings with the same number share one."""
    allowed = tomllib.loads((HERE / "waits.toml").read_text())
    lines = ["| | waits |", "|---|---|"]
    for section, title in TITLES.items():
        by_count: dict[int, list[str]] = {}
        for name, count in allowed[section].items():
            by_count.setdefault(count, []).append(name.replace("none", "no weighting") if section == "step" else name)
        if section in ("step", "batch"):
            joint = "`, `"
            lines += [f"| {title.format(joint.join(names))} | {count} |" for count, names in by_count.items()]
        else:
            lines += [f"| {title.format(name)} | {count} |" for name, count in allowed[section].items()]
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with the table in its place."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))

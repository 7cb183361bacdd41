"""The examples of README and CONTRIBUTING do what they say."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.runs.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"```python\n# (\w+\.py)\n(.*?)```(?:\s+```\n(.*?)```)?", re.DOTALL)

SMALL = """
seeds = [0]
architectures = []
weightings = ["equal"]
[architecture]
width = 4
backbone = "unet-1-1-2"
[protocol]
epochs = 1
batch_size = 4
[datasets.toy]
"""


EXAMPLES = [block for name in ("README.md", "CONTRIBUTING.md") for block in BLOCK.findall((ROOT / name).read_text())]


def test_every_contract_has_an_example():
    assert [file for file, _, _ in EXAMPLES] == ["inverse_loss.py", "late_split.py", "gradients.py", "count.py"]


@pytest.mark.parametrize(("file", "code", "commands"), EXAMPLES, ids=[file for file, _, _ in EXAMPLES])
def test_an_example_runs(here, tmp_path, monkeypatch, toy, file, code, commands):
    (tmp_path / file).write_text(code)
    (tmp_path / "small.toml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(next(iter(commands.splitlines()), f"mtbench run --grid quick --plugin {file}"))[1:]
    words[words.index("quick")] = "small.toml"
    result = CliRunner().invoke(main, [*words, "--plugin", str(toy)], catch_exceptions=False)
    assert result.exit_code == 0, result.output + result.stderr
    named = {words[i + 1] for i, word in enumerate(words) if word in ("--architecture", "--weighting", "--dataset")}
    ran = [r.spec for r in Store(tmp_path / "results").scan()[0]]
    assert named <= {name for s in ran for name in (s.dataset.name, s.architecture.name, s.weighting_name)}


def test_the_readme_names_commands_that_exist():
    text = (ROOT / "README.md").read_text()
    for command in re.findall(r"^mtbench (\w+)", text, re.MULTILINE):
        assert command in main.list_commands(click.Context(main))

"""The code blocks of the documentation: found, run in this process, or at least parsed.

A block is a fence with its language. A comment right above it says why it is not run here:

    <!-- not run: needs two machines -->

`sh` blocks hold mrirecon commands, data scripts and examples, which are called in this process; lines that take a
recipe or the demo are made small (`SMALLER`). `python` blocks of a page share their names.
"""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import yaml

from mrirecon.cli import COMMANDS, main
from mrirecon.cli.run import parse

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^>]+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# What a line gets here beyond what the page says, or in place of it, by how it begins.
FEW_STEPS = """--trainer.max_epochs=1 --trainer.max_steps=1 --trainer.limit_train_batches=1
    --trainer.limit_val_batches=1 --trainer.accelerator=cpu --trainer.devices=1 --trainer.precision=32-true
    --compile=false --images=0
    --data.workers=0 --data.batch_size=1"""
VARNET = """--network.num_cascades=2 --network.chans=4 --network.pools=2 --network.sens_chans=3
    --network.sens_pools=2"""
SMALLER = {
    "mrirecon recon scan.h5 --method unrolled_prior --adapt auto": "--adapt=2 --adapt_slices=1",
    "mrirecon recon scan.h5 --method dds --samples 4 --adapt auto": "--adapt=2 --adapt_slices=1",
    "mrirecon demo": "--slices=11:12",
    "mrirecon benchmark": '--masks=[{"kind":"uniform1d","acceleration":2,"center_fraction":0.2}] '
    '--methods=[{"method":"zero_filled"},{"method":"tv","tune":{"iterations":[2,3]}}]',
    "mrirecon train --network mine.py:Net": FEW_STEPS,
    "mrirecon train --config configs/tiny_varnet.yaml": f"{FEW_STEPS} {VARNET}",
    "mrirecon train --config configs/fastmri_knee_varnet.yaml": f"{FEW_STEPS} {VARNET}",
    "mrirecon train --config configs/self_supervised_varnet.yaml": f"{FEW_STEPS} {VARNET}",
    "mrirecon train --config configs/self_supervised_unrolled_prior.yaml": f"{FEW_STEPS} --network.steps=1",
    "mrirecon train --config configs/prior_tiny.yaml": f"{FEW_STEPS} --network.widths=[4,8] "
    "--data.patches=[[1.0,16]] --data.pixel_mm=[0.5,3.0]",
    "python data_scripts/simulate_training_set.py": "--matrix 32x24 --coils 4 --slices 2",
}

FEWER = {"max_epochs=10": "max_epochs=1", "num_cascades=6, chans=8": "num_cascades=2, chans=4"}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page):
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        line = text[: match.start("text")].count("\n")
        found.append(Block(page, line, match["language"], match["text"], match["reason"]))
    return found


def commands(text):
    """The commands of a shell block as lists of words, with where their output goes."""
    joined = re.sub(r"\\\n\s*", "", text)
    for line in re.split(r"\n|&&", joined):
        words = shlex.split(line, comments=True)
        if ">" in words:
            at = words.index(">")
            yield words[:at], words[at + 1]
        elif words:
            yield words, None


def run_shell(text, capsys, smaller=SMALLER):
    for words, target in commands(text):
        line = " ".join(words)
        extra = [more for begin, more in smaller.items() if line.startswith(begin)]
        words = with_options([name for word in words for name in expanded(word)], extra)
        capsys.readouterr()
        if words[0] == "mrirecon":
            status = _mrirecon(words[1:])
        elif words[0] == "python" and words[1].startswith("data_scripts/"):
            module = import_module(Path(words[1]).stem)
            status = import_module("script").run(module.main, module.options(), words[2:])
        else:
            raise AssertionError(f"{line}: mark the block as not run, and say why")
        out, err = capsys.readouterr()
        assert not status, f"{line}\n{out}\n{err}"
        if target is not None:
            Path(target).write_text(out)


def with_options(words, lines):
    """The words with further options, which replace those of the same name."""
    more = " ".join(lines).split()
    names = {word.partition("=")[0] for word in more if word.startswith("--")}
    kept, left_out = [], False
    for word in words:
        if word.startswith("--"):
            left_out = word.partition("=")[0] in names
        if not left_out:
            kept.append(word)
    return kept + more


def expanded(word):
    """A pattern of file names as the shell would replace it."""
    found = sorted(map(str, Path().glob(word))) if re.search(r"[*?]", word) else []
    return found or [word]


def _mrirecon(args):
    try:
        main(args)
    except SystemExit as end:
        return end.code or 0


def parse_shell(text):
    """Check a shell block that is not run: bash reads it, and the real parsers take the lines of this project."""
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    for words, _ in commands(text):
        if "mrirecon" in words and "install" not in words:
            args = words[words.index("mrirecon") + 1 :]
            parse_command(args)
        elif "python" in words and words[-1] != "python":
            script = words[words.index("python") + 1]
            if script.startswith("data_scripts/"):
                import_module(Path(script).stem).options().parse_args(words[2:])


def parse_command(args):
    two = " ".join(args[:2])
    name = two if two in COMMANDS else args[0]
    assert name in COMMANDS, f"there is no command {name}"
    home, _, second = name.partition(" ")
    module = import_module(f"mrirecon.cli.{home}")
    command = module.COMMANDS[second] if second else module.COMMAND
    parse(command, args[len(name.split()) :])


def run_python(block, names):
    text = block.text
    for big, small in FEWER.items():
        text = text.replace(big, small)
    code = "\n" * block.line + text  # so that a traceback shows the line of the page
    exec(compile(code, str(block.page), "exec", dont_inherit=True), names)


def check_data(block):
    if block.language == "yaml":
        assert isinstance(yaml.safe_load(block.text), dict)
    if block.language == "json":
        text = block.text.strip()
        json.loads(text if text.startswith("{") else f"{{{text}}}")


sys.path.insert(0, str(ROOT / "data_scripts"))  # the scripts import each other

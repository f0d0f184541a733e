"""The README's examples run as they stand, and its commands name things that exist."""

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import pyasmg

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
EXAMPLES = [code for language, code in BLOCKS if language == "python"]


def test_there_are_examples():
    assert len(EXAMPLES) >= 5
    assert {language for language, _ in BLOCKS} == {"python", "sh"}


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: re.sub(r"\W+", "-", code.splitlines()[-1])[:40])
def test_example(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(README), "exec"), {"__name__": "example"})
    assert "nan" not in capsys.readouterr().out


def test_the_first_example_is_short():
    assert len([line for line in EXAMPLES[0].splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("name", ["run", "test"])
def test_newcomer_commands_are_one_line(name):
    lines = README.read_text(encoding="utf-8").splitlines()
    at = lines.index(f"<!-- newcomer: {name} -->")
    assert lines[at + 1] == "```sh"
    assert lines[at + 3] == "```"
    assert shlex.split(lines[at + 2])[:4] == ["python3", "-m", "venv", ".venv"]


def test_the_shell_examples_options_exist():
    from pyasmg._cli_minimize import minimize_command

    shell = [code for language, code in BLOCKS if language == "sh"]
    commands = [line for code in shell for line in code.replace("\\\n", " ").splitlines() if "pyasmg minimize" in line]
    assert len(commands) >= 2
    known = set(inspect.signature(minimize_command).parameters)
    for command in commands:
        options = {word[2:].replace("-", "_") for word in shlex.split(command) if word.startswith("--")}
        assert options <= known, command


def test_submodules_are_there_without_an_import_of_their_own():
    program = "import pyasmg; print(pyasmg.store.RunReader, pyasmg.callbacks.combine, pyasmg.report, pyasmg.problems)"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_thing'"):
        _ = pyasmg.no_such_thing

"""The typed stub of the core says what the compiled module says; the package is light to import."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyasmg
from pyasmg import _core

STUB = Path(pyasmg.__file__).with_name("_core.pyi")


def functions(nodes, prefix=""):
    return {prefix + node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}


TREE = ast.parse(STUB.read_text()).body
CLASSES = {node.name: node for node in TREE if isinstance(node, ast.ClassDef)}
METHODS = {name: method for node in CLASSES.values() for name, method in functions(node.body, f"{node.name}.").items()}
FUNCTIONS = functions(TREE) | METHODS
KINDS = (  # in the signatures that pybind11 writes, and in the stub
    ("float32]", "_T"),
    ("numpy.float64]", "_Float64Array"),
    ("numpy.uint8]", "_UInt8Array"),
    ("None", "None"),
    ("Sequence", "Sequence"),
    ("SupportsInt", "int"),
    ("SupportsFloat", "float"),
    ("bool", "bool"),
    ("str", "str"),
    ("int", "int"),
    ("float", "float"),
    ("Callable", "Callable"),
    ("list", "list"),
    ("tuple", "tuple"),
    ("type", "type"),
    ("object", "object"),
)


def split(text):
    """Split at the commas that stand in no brackets."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += not quoted and (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def signatures(name):
    """Return (arguments, result) of each overload, the arguments as (name, type) in the module's words."""
    owner, _, last = name.rpartition(".")
    function = getattr(getattr(_core, owner) if owner else _core, last)
    found = re.findall(rf"^(?:\d+\. )?{last}\((.*)\) -> (.*)$", function.__doc__, re.MULTILINE)
    assert found
    return [([part.split(": ", 1) for part in split(arguments)], result) for arguments, result in found]


def kind(text):
    """Return what an argument is, whether the stub or pybind11 says it."""
    main, _, optional = text.partition(" | None")
    for theirs, ours in KINDS:
        if theirs in main or ours in main:
            return ours, bool(optional)
    raise AssertionError(text)


def test_names():
    names = {name for name in vars(_core) if not name.startswith("_")}
    assert names == (set(FUNCTIONS) - set(METHODS)) | set(CLASSES)
    for name in CLASSES:
        methods = {attribute for attribute in vars(getattr(_core, name)) if not attribute.startswith("_")}
        assert {f"{name}.{method}" for method in methods | {"__init__"}} == set(METHODS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments(name):
    node = FUNCTIONS[name]
    own = [argument for argument in node.args.args if argument.arg != "self"]
    expected = [(argument.arg, ast.unparse(argument.annotation)) for argument in own]
    assert not node.args.defaults
    found = signatures(name)
    found = [([argument for argument in arguments if argument[0] != "self"], result) for arguments, result in found]
    for arguments, _ in found:
        assert [argument for argument, _ in arguments] == [argument for argument, _ in expected]
    # the first overload is the one for float32, which the stub calls _T
    assert [kind(text) for _, text in found[0][0]] == [kind(text) for _, text in expected]
    assert len(found) == (2 if any("_T" in text for _, text in expected) else 1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results(name):
    """The number of values in a tuple, which is all that the two spell alike."""
    node = FUNCTIONS[name]
    for _, result in signatures(name):
        theirs = split(result[6:-1]) if result.startswith("tuple[") else [result]
        text = ast.unparse(node.returns)
        ours = split(text[6:-1]) if text.startswith("tuple[") else [text]
        assert len(ours) == len(theirs) or result == "object"


def test_the_package_says_that_it_is_typed():
    assert STUB.with_name("py.typed").exists()


def test_public_names():
    assert set(pyasmg.__all__) <= set(dir(pyasmg))
    for name in set(pyasmg.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(pyasmg, name))


def test_import_needs_numpy_only(tmp_path):
    heavy = {"matplotlib", "rich", "scipy", "sklearn", "torch", "typer"}
    code = f"import sys, pyasmg; print(sorted({heavy!r} & set(sys.modules)), pyasmg._core.__file__)"
    root = str(Path(pyasmg.__file__).parents[1])
    # not from the root of the sources, whose pyasmg/ would be found first
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.strip() == f"[] {_core.__file__}"

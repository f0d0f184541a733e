"""What `import pyasmg.clip` needs and says."""

import subprocess
import sys

import pytest

import pyasmg.clip


def python(code, environment):
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("missing", ["torch", "open_clip", "safetensors", "sklearn"])
def test_a_missing_extra_says_what_to_install(missing, stub_environment):
    code = f"""
import importlib.machinery as machinery
found = machinery.PathFinder.find_spec
machinery.PathFinder.find_spec = staticmethod(
    lambda name, *rest: None if name == {missing!r} else found(name, *rest)
)
import pyasmg  # needs none of it
import pyasmg.clip
"""
    ran = python(code, stub_environment)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == f'ImportError: pyasmg.clip needs {missing}: pip install "pyasmg[clip]".'


def test_nothing_heavy_is_imported_before_it_is_needed(stub_environment):
    code = "import sys, pyasmg.clip; print({'torch', 'open_clip', 'sklearn', 'torchvision'} & set(sys.modules))"
    ran = python(code, stub_environment)
    assert (ran.stdout, ran.stderr) == ("set()\n", "")


def test_a_torchvision_for_another_torch_is_explained(monkeypatch):
    from pyasmg.clip import _imports

    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(_imports, "import_module", broken)
    with pytest.raises(
        ImportError, match=r"operator torchvision::nms does not exist.*does not fit the installed torch"
    ):
        _imports.open_clip()


def test_other_errors_are_not_explained_away(monkeypatch):
    from pyasmg.clip import _imports

    def broken(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(_imports, "import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        _imports.open_clip()


def test_the_stub_lets_torchvision_import(stub_environment):
    ran = python("import torchvision, torch; print(torch.ops.torchvision.nms is not None)", stub_environment)
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr


def test_public_names():
    assert set(pyasmg.clip.__all__) <= set(dir(pyasmg.clip))
    for name in pyasmg.clip.__all__:
        assert getattr(pyasmg.clip, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pyasmg.clip.nothing

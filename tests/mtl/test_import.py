"""What an import brings along."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)


def test_pyasmg_does_not_import_torch() -> None:
    answer = run(
        """
        import sys
        import pyasmg
        assert "torch" not in sys.modules
        assert pyasmg.mtl.MGDA(2).n_tasks == 2
        assert "torch" in sys.modules
        assert "torchjd" not in sys.modules
        assert "matplotlib" not in sys.modules
        """
    )
    assert answer.returncode == 0, answer.stderr


def test_without_torch() -> None:
    answer = run(
        """
        import sys
        sys.modules["torch"] = None
        import pyasmg
        try:
            pyasmg.mtl
        except ImportError as error:
            assert 'pip install "pyasmg[torch]"' in str(error), error
        else:
            raise AssertionError
        """
    )
    assert answer.returncode == 0, answer.stderr


def test_without_torchjd() -> None:
    answer = run(
        """
        import sys
        sys.modules["torchjd"] = None
        import pyasmg.mtl
        try:
            import pyasmg.mtl.torchjd
        except ImportError as error:
            assert 'pip install "pyasmg[torchjd]"' in str(error), error
        else:
            raise AssertionError
        """
    )
    assert answer.returncode == 0, answer.stderr


def test_unknown_attributes_are_still_unknown() -> None:
    answer = run("import pyasmg; pyasmg.nothing")
    assert "module 'pyasmg' has no attribute 'nothing'" in answer.stderr

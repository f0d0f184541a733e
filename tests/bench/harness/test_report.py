"""The page of all results: whole, self-contained, and shown by a real browser without an error."""

import json
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest

from bench import common, report
from bench.harness import Figure, Panel, Series, band
from bench.report_figures import plotly

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def fill(folder):
    """Write what two benchmarks would: tables, a figure as data, and a picture."""
    table = common.Table("toy", ["problem", "value"], "a title")
    table.add("l1 <4.21> & more", 0.123456789)
    table.add("none", "-")
    table.save()
    long = common.Table("toy_runs", ["seed", "end"])
    for seed in range(60):
        long.add(seed, "target")
    long.save()
    x = np.geomspace(10, 1e4, 30)
    runs = [1e3 / x, 3e3 / x, np.append(2e3 / x[:-1], np.inf)]
    figure = Figure(
        "toy_figure", "Toy's figure", "evaluations", "distance", target=1e-1, note="how to read it", columns=2
    )
    for number in range(3):
        panel = Panel(f"panel {number}", [band("ours", x, runs), Series("peer", [10.0, 1e3], [5.0, 0.0])])
        figure.panels.append(panel)
    pytest.importorskip("matplotlib")
    figure.save()
    (folder / "speed.png").write_bytes((folder / "toy_figure.png").read_bytes())
    (folder / "speed.csv").write_text("# python -m bench.speed\n# machine X, 2020-01-01\nd,ms\n100,0.5\n")


@pytest.fixture
def written(results):
    """Return the folder and the page that was written there."""
    pytest.importorskip("plotly")
    results.mkdir()
    fill(results)
    assert report.main(["--results", str(results)]) == 0
    return results, (results / "report.html").read_text(encoding="utf-8")


def test_the_page_has_every_table_and_figure_and_where_it_came_from(written, capsys):
    _, text = written
    origin = common.header().splitlines()
    assert text.count(f"<code>{origin[0][2:]}</code> {origin[1][2:]}") == 1  # one section for one command
    assert "<code>python -m bench.speed</code> machine X, 2020-01-01" in text
    assert "l1 &lt;4.21&gt; &amp; more</td><td>0.1235</td>" in text
    assert "<summary>60 rows</summary>" in text
    assert text.count('<img alt="speed" src="data:image/png;base64,') == 1
    assert '<img alt="toy_figure"' not in text  # drawn instead
    assert "how to read it" in text
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="https?:|<script ', outside)
    assert "pyasmg 0." in origin[1]
    assert re.search(r"\d{4}-\d{2}-\d{2}$", origin[1])


def test_a_figure_as_plotly_sees_it(written):
    folder, _ = written
    content = json.loads((folder / "toy_figure.figure.json").read_text())
    assert content["command"].startswith("python -m ")
    figure = report.load(content)
    spec = plotly(figure)
    assert len(spec["data"]) == 3 * (3 + 1)  # band: low, high, median
    lines = [trace for trace in spec["data"] if trace.get("name") == "ours"]
    assert [trace["showlegend"] for trace in lines] == [True, False, False]
    assert lines[0]["y"][0] == pytest.approx(200.0)
    peer = next(trace for trace in spec["data"] if trace.get("name") == "peer")
    assert peer["y"] == [5.0, 1e-16]  # a logarithmic axis has no zero
    assert [a["text"] for a in spec["layout"]["annotations"]] == ["panel 0", "panel 1", "panel 2"]
    low, high = spec["layout"]["yaxis2"]["range"]
    assert low == pytest.approx(np.log10(0.1 / 3))
    assert high > np.log10(200)
    json.dumps(spec, allow_nan=False)


def test_a_file_of_another_kind_is_named(results):
    pytest.importorskip("plotly")
    results.mkdir()
    (results / "odd.figure.json").write_text("{}")
    with pytest.raises(ValueError, match=r"odd\.figure\.json is not a figure of this version \(KeyError"):
        report.main(["--results", str(results)])


def test_nothing_on_disk_yet(tmp_path, capsys):
    pytest.importorskip("plotly")
    assert report.main(["--results", str(tmp_path / "none")]) == 1
    assert "python -m bench run NAME writes them" in capsys.readouterr().out
    assert report.main(["--results", str(tmp_path)]) == 0
    assert "No results on disk yet" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_missing_plotly_is_named(monkeypatch, capsys):
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    assert report.main([]) == 1
    assert 'pip install "pyasmg[bench]"' in capsys.readouterr().out


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt install chromium)")
def test_a_real_browser_shows_it_without_an_error(written, tmp_path):
    folder, _ = written
    picture = tmp_path / "page.png"
    line = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    line += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=20000"]
    line += ["--window-size=1280,1600", f"--screenshot={picture}", "--dump-dom", (folder / "report.html").as_uri()]
    answer = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    console = [entry for entry in answer.stderr.splitlines() if "CONSOLE" in entry]
    assert not console

    dom = answer.stdout
    drawn = re.findall(r'<div class="figure js-plotly-plot" id="figure-toy_figure"', dom)
    assert len(drawn) == 1, "plotly has not drawn the figure"
    for title in ("Toy's figure", "panel 0", "panel 1", "panel 2", "evaluations", "distance"):
        assert re.search(f"<text[^>]*>{title}</text>", dom), title
    assert dom.count('class="scatterlayer') == 3
    for name in ("toy", "toy_runs", "speed"):
        assert f'id="table-{name}"' in dom

    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (1280, 1600)
    assert len(data) > 50_000  # an empty page has 10 kB

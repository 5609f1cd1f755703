"""The documentation site: built as `make docs` does, with everything in it that there is, and no dead link."""

import subprocess
import sys
from pathlib import Path

import pytest

from dart.errors import DartError
from dart.limits import Limits
from dart.rest.metrics import FAMILIES
from dart.rest.routes import ROUTES

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "tools" / "site"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, SITE / "build.py", made / "docs"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    return made / "docs"


@pytest.fixture
def parts(monkeypatch):
    """The builder's modules."""
    monkeypatch.syspath_prepend(str(SITE))
    import links
    import reference

    return links, reference


def test_the_site_has_all_there_is(folder, parts):
    """Each call, limit, error, metric and public name is on its page."""
    _, reference = parts
    made = {name: (folder / "pages" / "docs" / name).read_text() for name in reference.pages()}
    assert all(f"## {route.method} {route.path}\n" in made["reference/rest-calls.md"] for route in ROUTES)
    assert all(f"| `{name}` |" in made["reference/limits.md"] for name in Limits.__dataclass_fields__)
    assert all(f"| {kind.code} |" in made["reference/errors.md"] for kind in DartError.__subclasses__())
    assert all(f"`{name}`" in (folder / "pages/docs/monitoring.md").read_text() for name in FAMILIES)
    for text in ("### Client.job\n", "### Job.futures\n", "| `TaskLost` |", "### testing.installation\n"):
        assert text in made["reference/sdk.md"]
    for page in ("index", "docs/tutorial", "docs/cli", "docs/adr/index", "examples/sweep/index"):
        assert (folder / "site" / f"{page}.html").is_file(), page


def test_dead_links_and_strangers_are_found(parts, tmp_path):
    """A file, an anchor and a folder that are not there; a script from elsewhere; what is there is no fault."""
    links, _ = parts
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text('<h1 id="top">x</h1>')
    (tmp_path / "index.html").write_text(
        '<a href="sub/#top"></a><a href="sub/index.html#none"></a><a href="gone.html"></a><a href="https://e.org"></a>'
        '<script src="https://cdn.example/x.js"></script><a href="#here" id="here"></a><img src="x.png">'
    )
    assert sorted(links.dead(tmp_path)) == [
        "index.html: fetches https://cdn.example/x.js from elsewhere",
        "index.html: links to gone.html, which is not there",
        "index.html: links to sub/index.html#none, which has no such anchor",
        "index.html: links to x.png, which is not there",
    ]


def test_what_is_not_documented_is_found(parts, monkeypatch, tmp_path):
    """A variable in the source, a limit, a method and an option without a word."""
    _, reference = parts
    import sdk_page

    assert reference.undocumented(ROOT) == []
    (tmp_path / "docs").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "tools" / "site").mkdir(parents=True)
    (tmp_path / "tools" / "site" / "site.toml").write_text('"docs/other.md"')
    page = (ROOT / "docs" / "configuration.md").read_text().replace("| `DART_URL` |", "| `DART_URI` |")
    (tmp_path / "docs" / "configuration.md").write_text(page)
    (tmp_path / "src" / "new.py").write_text('os.environ["DART_NEW"]')
    told = reference.undocumented(tmp_path)
    assert "docs/configuration.md: no row begins with `DART_NEW`" in told
    assert "tools/site/site.toml: docs/configuration.md is not in the navigation" in told
    assert "docs/configuration.md: the code knows no `DART_URI`" in told
    monkeypatch.setattr(sdk_page.dart_client.Job.submit, "__doc__", None)
    assert sdk_page.undocumented() == ["dart_client.Job.submit: no docstring"]
    monkeypatch.setattr(reference, "_limits", lambda: [("value_bytes_max", 1, "")])
    assert "limits.py: value_bytes_max has no docstring" in reference.undocumented(ROOT)
    (ping,) = [page for page in reference.manual.pages(reference.cli) if page.name == "dart worker ping"]
    monkeypatch.setattr(reference, "_manual_pages", lambda: [ping._replace(options=[("--wait SECONDS", "")])])
    assert "dart worker ping: --wait SECONDS has no help" in reference.undocumented(ROOT)

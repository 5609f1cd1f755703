"""The files of the page at `/`: their policy, what is served, what their scripts say, and how plots come into them."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from dart.rest.dashboard import page
from harness.rest_stack import rest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(page.FOLDER.glob("*.js"))
OURS = {file.name for file in page.FOLDER.iterdir()} - {"index.html"}


async def test_the_files_of_the_page_have_a_strict_policy():
    """Nothing inline, nothing from elsewhere, in no frame, no markup from text; browsers ask whether it is new."""
    async with rest() as stack:
        for path, media_type in (
            ("/", "text/html"),
            ("/dashboard/main.js", "text/javascript"),
            ("/dashboard/dashboard.css", "text/css"),
        ):
            async with stack.session.get(stack.url + path) as answer:
                assert (answer.status, answer.content_type) == (200, media_type)
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
                assert "frame-ancestors 'none'" in policy
                assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
                assert answer.headers["Cache-Control"] == "no-cache"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                tag = answer.headers["ETag"]
            async with stack.session.get(stack.url + path, headers={"If-None-Match": tag}) as answer:
                assert (answer.status, await answer.read()) == (304, b"")
        for path in ("/dashboard/", "/dashboard/index.html", "/dashboard/..%2fpage.py", "/dashboard/version.txt"):
            async with stack.session.get(stack.url + path) as answer:
                assert answer.status == 404


def test_nothing_is_inline():
    """Neither a script nor a style; the policy would refuse it."""
    text = (page.FOLDER / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=", text) == []


def test_no_script_makes_markup_of_text():
    """Neither a way to do it, nor one to run text, stands in any of them."""
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment"
    assert [file.name for file in SCRIPTS if re.search(forbidden, file.read_text(encoding="utf-8"))] == []


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_scripts_can_be_read():
    """By node; `make check-page` checks their types."""
    for file in SCRIPTS:
        subprocess.run([shutil.which("node"), "--check", str(file)], check=True)


@pytest.mark.parametrize("has_plots", [True, False])
async def test_the_page_names_uplot_where_it_is_there(tmp_path, has_plots):
    """Where there was no npm all else is; each file that is served is loaded early, and no other is asked for."""
    plots = tmp_path / "uplot"
    theirs = {"uPlot.min.css", "uPlot.iife.min.js"} if has_plots else set()
    for name in theirs:
        plots.mkdir(exist_ok=True)
        (plots / name).touch()
    app = web.Application()
    page.add_to(app.router, plots)
    served = {it.canonical.rpartition("/")[2] for it in app.router.resources()} - {""}
    async with TestClient(TestServer(app)) as client:
        text = await (await client.get("/")).text()
    named = set(re.findall(r'(?:href|src)="/dashboard/([^"]+)"', text))
    assert named == served == OURS | theirs


def hook():
    spec = importlib.util.spec_from_file_location("build_hook", ROOT / "tools" / "build_hook.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def no_npm(tmp_path, monkeypatch):
    """A machine without Node, as far as PATH goes."""
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_build_without_npm_goes_on_and_says_so(tmp_path, no_npm, monkeypatch):
    """Unless it is told that plots are required."""
    warned = []
    made = hook().PlotsHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel", None)
    monkeypatch.setattr(type(made), "app", property(lambda _: type("App", (), {"display_warning": warned.append})()))
    shutil.copytree(ROOT / "assets", tmp_path / "assets", ignore=shutil.ignore_patterns("node_modules"))
    data = {"artifacts": []}
    made.initialize("standard", data)
    assert data == {"artifacts": ["/src/dart/rest/dashboard/uplot/*"]}
    assert "there is no npm" in warned[0]
    monkeypatch.setenv("DART_PLOTS", "required")
    with pytest.raises(FileNotFoundError):
        made.initialize("standard", data)

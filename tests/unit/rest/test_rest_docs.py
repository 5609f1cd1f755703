"""docs/rest.md says what there is."""

import re
from pathlib import Path

from dart.rest import json_values
from dart.rest.policies import MEMBERS
from dart.rest.routes import ROUTES

PAGE = (Path(__file__).parents[3] / "docs" / "rest.md").read_text()


def test_every_call_is_on_the_page_and_no_other():
    """Method and path of each route, in the table of calls."""
    calls = PAGE.partition("## Calls")[2].partition("### Tasks")[0]
    listed = set()
    for row in re.findall(r"^\| (`[A-Z].*?) \|", calls, re.MULTILINE):
        path = ""
        for methods, named in reversed(re.findall(r"`([A-Z]+)(?: (/[^`]*))?`", row)):
            path = named or path
            listed.add((methods, path.rstrip("/")))
    assert listed == {(route.method, route.path.rstrip("/")) for route in ROUTES}


def test_every_member_and_every_tag_is_on_the_page():
    """Those of tasks, and those of values."""
    assert [name for name in (*MEMBERS, "location", "each", "tag") if f"`{name}`" not in PAGE] == []
    assert [tag for tag in json_values._READERS if f'"__dart__": "{tag}"' not in PAGE] == []

"""What requests and answers say of pushed modules; see `schemas.py` and `answer_schemas.py`."""

from typing import NotRequired

import msgspec

from dart.rest.answer_schemas import Answer, Pinged
from dart.rest.member_types import ModuleFiles, ModuleName, Pattern, Seconds
from dart.rest.schemas import Members


class PushedModule(Members, kw_only=True):
    """`POST /module/`."""

    name: ModuleName
    source: str = ""
    """Of NAME.py; with `files` of NAME/__init__.py."""
    files: ModuleFiles = msgspec.field(default_factory=dict)
    worker_regex: Pattern = ""
    wait: Seconds = 30


class ModulesWanted(Members, kw_only=True):
    """`GET /module/`, `DELETE /module/{name}/`."""

    worker_regex: Pattern = ""
    wait: Seconds = 10


class ModulesOfAgent(Pinged):
    """Pushed modules of one agent."""

    worker: str
    modules: NotRequired[dict[str, str]]


class Modules(Answer):
    """`POST /module/`, `GET /module/`, `DELETE /module/{name}/`."""

    agents: list[ModulesOfAgent]

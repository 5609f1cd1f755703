"""Types of single members, with what the OpenAPI document says of each: one place for both.

Decoding looks at the plain type only; finer rules (bounds, forms of names) are checked where their complaint can name
the member and say what to do. The keywords here describe those very rules. A keyword whose value is the name of a
limit stands for that limit's value, which each server may set by itself (`openapi.py`).
"""

from typing import Annotated, Any, Final

from msgspec import Meta, Raw

from dart.broker.core.model import IfOffline, OnLost, TaskState

INTEGER_MAX: Final = (1 << 63) - 1
PRIORITY_MAX: Final = 1_000_000
RETRIES_MAX: Final = 1_000_000
SECONDS_MAX: Final = 10**9
PORT_MAX: Final = 65_535
TOKEN_USES_MAX: Final = 1000
SLOTS_MAX: Final = 4096
SHM_BYTES_MAX: Final = 1 << 50

Integer = int | Annotated[float, Meta(extra_json_schema={"multipleOf": 1})] | str
"""Old programs and query strings write integers as decimal text, some languages as 1.0."""
Number = int | float | str
Flag = Annotated[
    bool | str,
    Meta(extra_json_schema={"enum": [True, False, "true", "false", "1", "0", "yes", "no", ""]}),
]
"""A truth value, also from a query string, where nothing means true."""

_NO_SLASH: Final = r"[^/\p{C}\p{Z}]| "
_SEEN: Final = r"[^\p{C}\p{Z}]"
_FOLDER: Final = r"(?!\.{1,2}(?:/|$))(?:[^/\\\p{C}\p{Z}]| )+"


def shown(description: str = "", **keywords: Any) -> Meta:
    """What the document says of a member beside its plain type."""
    # Nothing of this is checked by msgspec: its complaints could not say what to do.
    return Meta(extra_json_schema={**({"description": description} if description else {}), **keywords})


def whole(least: int, most: int, description: str = "", *, also: str = "") -> Meta:
    """An integer within bounds, or its decimal text; `also` is an expression for further texts."""
    sign, first = "[+-]?" if least < 0 else "[+]?", "[1-9]" if least > 0 else "[0-9]"
    digits = f"{sign}{first}[0-9]{{0,{len(str(most)) - 2}}}"
    pattern = f"^(?:{digits}{f'|{also}' if also else ''})$"
    return shown(description, minimum=least, maximum=most, pattern=pattern)


Name = Annotated[
    str,
    shown(
        "printable text without `/`",
        format="dart-name",
        pattern=f"^(?:{_NO_SLASH})+$",
        minLength=1,
        maxLength="name_chars_max",
    ),
]
"""Of a job, worker or capability."""
NameOrEmpty = Annotated[
    str, shown(format="dart-name-or-empty", pattern=f"^(?:{_NO_SLASH})*$", maxLength="name_chars_max")
]
Capabilities = Annotated[
    list[NameOrEmpty], shown("names of capabilities; empty texts are ignored", maxItems="capabilities_max")
]
Requirements = Annotated[
    list[
        Annotated[
            str,
            shown(format="dart-requirement", pattern=f"^(?:{_NO_SLASH})*$", maxLength="name_chars_max"),
        ]
    ],
    shown(
        "what a worker must have: a capability, `key=value`, a comparison such as `memory_gib>=4`, one of these after"
        " `!`; empty texts are ignored",
        maxItems="capabilities_max",
    ),
]
JobNames = Annotated[list[Name], shown("names of jobs", maxItems="capabilities_max")]
Tag = Annotated[
    str,
    shown(
        "printable text that comes back with the result",
        format="dart-tag",
        pattern=r"^(?:[^\p{C}\p{Z}]| )*$",
        maxLength="name_chars_max",
    ),
]
ModulePath = Annotated[
    str,
    shown(
        "a module below the worker's `module_prefix`: names with `/` between them, no `..`, no `.py`; one leading `/`"
        " stands for the prefix",
        format="dart-module-path",
        pattern=rf"^(?!.*\.py$)/?{_FOLDER}(?:/{_FOLDER})*$",
        maxLength="module_path_chars_max",
    ),
]
Method = Annotated[
    str,
    shown(
        "a function of the module: a Python identifier",
        format="dart-method",
        pattern=r"^[\p{L}_][\p{L}\p{M}\p{N}_]*$",
        maxLength="name_chars_max",
    ),
]
Pattern = Annotated[
    str,
    shown(
        "an ECMAScript pattern that must match the whole name of a worker; no flags, no back references by name, and no"
        " unlimited repetition of what may itself repeat without limit",
        format="dart-pattern",
        maxLength="pattern_chars_max",
    ),
]
Seconds = Annotated[
    Number, shown("seconds", minimum=0, maximum=SECONDS_MAX, pattern=r"^(?:[0-9]{1,9}(?:\.[0-9]{1,9})?)$")
]
PublicKey = Annotated[
    str, shown("a CURVE public key in Z85", format="dart-z85", pattern=r"^[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}$")
]
JoinTokenText = Annotated[
    str,
    shown(
        "a join token; no key is needed then",
        format="dart-join-token",
        pattern=r"^(?:dart-join-1\.[A-Za-z0-9_-]*)?$",
        maxLength=4096,
    ),
]
NameClaim = Annotated[
    str,
    shown(
        "what the worker may be called; `*` stands for any characters",
        format="dart-name-claim",
        pattern=f"^(?!(?:[^*]*\\*){{9}})(?:{_NO_SLASH})+$",
        minLength=1,
        maxLength=255,
    ),
]
AgentDigits = Annotated[
    str,
    shown("an agent's id or its first digits; empty: all agents of the name", pattern="^(?:[0-9a-fA-F]{8,64})?$"),
]
TokenUses = Annotated[Integer, whole(1, TOKEN_USES_MAX, "how many agents may join by it")]
TokenSeconds = Annotated[
    Number,
    shown(
        "seconds from now until it counts no more",
        minimum=1,
        maximum="join_token_seconds_max",
        pattern=r"^[1-9][0-9]{0,5}$",
    ),
]
Count = Annotated[Integer, whole(0, INTEGER_MAX)]
Amount = Annotated[
    Integer, shown("how many at most; moved to the nearest that is allowed", pattern=r"^[+-]?[0-9]{1,40}$")
]
Cursor = Annotated[
    Integer,
    whole(0, INTEGER_MAX, "`cursor` of an earlier answer, or `now`: only what is recorded from here on", also="now"),
]
Priority = Annotated[Integer, whole(-PRIORITY_MAX, PRIORITY_MAX, "higher runs first")]
Retries = Annotated[Integer, whole(0, RETRIES_MAX)]
Port = Annotated[Integer, whole(1, PORT_MAX)]
PortOrAny = Annotated[Integer, whole(0, PORT_MAX, "0: the system chooses")]
Hosts = Annotated[list[Annotated[str, shown(minLength=1)]], shown("names or addresses of hosts", minItems=1)]
STATE_NAMES: Final = tuple(state.name.lower() for state in TaskState if state is not TaskState.STAGED)
_STATE: Final = f"(?:{'|'.join(STATE_NAMES)})?"
_States = Annotated[str, shown(pattern=f"^{_STATE}(?:,{_STATE})*$")]
States = Annotated[_States | list[_States], shown("names of states, repeated or with commas between them")]
WhenLost = Annotated[str, shown(enum=[str(choice) for choice in OnLost])]
WhenOffline = Annotated[str, shown("the same for all tasks of one request", enum=[str(choice) for choice in IfOffline])]
WhenStopped = Annotated[str, shown(enum=["run", "fail"])]
# What is not looked into stays bytes: a list of a million empty lists costs 3 MB so, and 70 as objects.
ToCome = Annotated[Raw, shown("not offered by this version", type="null")]
ApiKey = Annotated[Raw, shown("the API key, where a program sends no Authorization header")]
KeyScope = Annotated[str, shown("what the key allows", enum=["read", "submit", "admin"])]
KeyName = Annotated[
    str,
    shown(
        "printable text without `/`, for lists and logs; empty: the key's id",
        format="dart-key-name",
        pattern=f"^(?!admin$|legacy-)(?:{_NO_SLASH})*$",
        maxLength="name_chars_max",
    ),
]
KeyText = Annotated[
    str,
    shown(
        "a text of your own, as old programs have one written into them; without it the server makes one",
        format="dart-key-text",
        pattern=rf"^(?!dart_)(?:{_SEEN}(?:(?:{_SEEN}| )*{_SEEN})?)?$",
        maxLength="key_chars_max",
    ),
]
BoundNames = Annotated[list[Name], shown("with the pattern beside it: all that the key may touch", maxItems=1000)]
OpaqueValue = Annotated[Raw, shown("any value; what JSON lacks is an object with `__dart__` (docs/rest.md)")]
AnyValue = Annotated[Any, shown("any value; what JSON lacks is an object with `__dart__` (docs/rest.md)")]
ModuleName = Annotated[str, shown("a name as Python has them", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
ModuleFiles = Annotated[
    dict[str, str],
    shown(
        "further files of a package, texts by their paths in it",
        maxProperties="module_files_max",
        propertyNames={"pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}){0,14}$"},
    ),
]
EVENT_KINDS: Final = ("job", "queued", "task", "result", "progress", "log", "worker")
EventKinds = Annotated[
    str,
    shown(
        f"kinds of events, with commas between them: {', '.join(EVENT_KINDS)}; empty: all",
        pattern=f"^(?:(?:{'|'.join(EVENT_KINDS)})(?:,(?:{'|'.join(EVENT_KINDS)}))*)?$",
    ),
]
EventPlace = Annotated[
    str,
    shown(
        "`now`, `oldest` (all that the server still has), or the id of an event: what came after it",
        pattern="^(?:now|oldest|[0-9a-f]{8}-[0-9]{1,18})$",
    ),
]

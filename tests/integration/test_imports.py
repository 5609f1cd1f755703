"""What agent, runner and server load before they can work: start-up and memory of small machines hang on it."""

import json
import os
import subprocess
import sys

from harness.modules import write_modules
from harness.supervision import supervision

STANDARD = """
    abc argparse array ast atexit base64 binascii bisect bz2 codecs collections contextlib copy copyreg ctypes
    dataclasses datetime dis encodings enum errno fcntl fnmatch functools gc genericpath grp hashlib heapq hmac
    importlib inspect io ipaddress itertools json keyword linecache locale logging lzma math marshal mmap nt
    ntpath numbers opcode operator os pathlib pickle platform posix posixpath pwd queue random re reprlib resource
    secrets select selectors shutil signal site socket stat string struct subprocess sys sysconfig termios
    textwrap threading time token tokenize traceback types typing unicodedata urllib warnings weakref zipimport
    zlib
"""
"""Loaded by the few that the agent needs, or by an interpreter that starts. Whatever is not here costs every agent
memory and time, and is better loaded where it is used: asyncio, ssl, http, email, decimal, uuid, tempfile, sqlite3."""
AGENT = {*STANDARD.split(), "dart", "msgpack", "zmq", "cython_runtime"}
RUNNER = """
    abc builtins codecs collections contextlib copyreg dart_task datetime encodings enum fcntl functools
    genericpath importlib io itertools keyword marshal math msgpack operator os posix posixpath re reprlib site
    stat struct sys tasks termios time types warnings zipimport heapq errno signal cython_runtime
"""
"""Before the first module of its owner."""
UNUSED_BY_SERVER = {"dart_client", "regex", "urllib3", "requests", "fabric", "paramiko", "psutil", "numpy", "pandas"}
"""Loaded by commands, by requests that need them, or not at all."""
LOADED = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def loaded(code):
    """The outermost modules in an interpreter that ran this; none that it had before."""
    environment = {**os.environ, "PYTHONNOUSERSITE": "1"}
    command = [sys.executable, "-c", f"{LOADED}\n{code}\n{LOADED}"]
    done = subprocess.run(command, capture_output=True, check=True, env=environment, text=True, timeout=60)
    before, after = map(json.loads, done.stdout.splitlines())
    return {name for name in set(after) - set(before) if not name.startswith("_")}


def test_an_agent_loads_no_more_than_it_needs():
    """No asyncio, no HTTP, no TLS, and nothing of server or client."""
    assert sorted(loaded("import dart.agent.app") - AGENT) == []


def test_a_runner_loads_next_to_nothing(tmp_path):
    """The owner's modules need the memory more."""
    write_modules(tmp_path, tasks="import sys\ndef names(parameter): return sorted(sys.modules)\n")
    with supervision(tmp_path) as held:
        held.start()
        names = {name.partition(".")[0] for name in held.value("tasks", "names")}
    assert sorted(name for name in names - set(RUNNER.split()) if not name.startswith("_")) == []


def test_a_server_loads_what_serves_its_first_request():
    """And neither clients nor what few requests need."""
    code = "import dart.cli.server\nwith dart.cli.server.without_authorities(): import dart.server"
    assert sorted(loaded(code) & UNUSED_BY_SERVER) == []

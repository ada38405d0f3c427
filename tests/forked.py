"""Programs that use PsychoPy, in processes forked from one that has imported it, which takes longer than they do.

Otherwise such a process is as if it had been started: its environment, folder, arguments and standard streams are
its own, and whatever connects to a display, opens a keyboard or starts a thread comes after the fork.
"""

import atexit
import ctypes
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

SUBREAPER = 36
"""Linux's ``PR_SET_CHILD_SUBREAPER``: a descendant whose parent ends becomes the child of the process that asks."""


class Forked(subprocess.Popen):
    """``Popen`` of a Python program (a script, ``-c`` or ``-m``) that finds PsychoPy imported."""

    def _execute_child(self, args: Sequence[object], *how: Any) -> None:
        """Start the process, where Popen would."""
        (cwd, env), pipes = how[4:6], how[9:15]
        theirs = pipes[0], pipes[3], pipes[5]
        streams = [stream if pipe == -1 else pipe for stream, pipe in enumerate(theirs)]
        assert args[0] == sys.executable
        asked = [str(argument) for argument in args[1:]], str(cwd or Path.cwd()), dict(env or os.environ)
        (_, tests), prctl = _server(), ctypes.CDLL(None).prctl
        prctl(SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(tests, [json.dumps(asked).encode()], streams)
            self.pid = int(tests.recv(100))
        finally:
            prctl(SUBREAPER, 0, 0, 0, 0)
        self._child_created = True
        self._close_pipe_fds(*pipes)


@cache
def _server() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the process that forks, and ends when nobody is left to ask; give it and where it is asked."""
    tests, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (tests, server):
        end.setblocking(True)  # even where PsychoPy was imported, which limits all waiting
    with server:
        process = subprocess.Popen(
            [sys.executable, __file__, str(server.fileno())],
            pass_fds=[server.fileno()],
            stdin=subprocess.PIPE,  # pipes, as the streams of most of those that are forked: they cannot be rewound
            stdout=subprocess.PIPE,
        )
    return process, tests


def _import_all() -> None:
    """Import what sessions do, without pyglet's hidden window, which is on a display."""
    import PyQt6.QtGui  # noqa: F401, I001
    import pyglet

    pyglet.options["shadow_window"] = False
    for module in ("psychopy.visual", "catpref.lab.dialog", "catpref.lab.monitor", "catpref.lab.two_afc"):
        importlib.import_module(module)


def _serve(requests: socket.socket) -> list[str]:
    """Fork whenever it is asked for; return the arguments of a program, in the process that is to run it."""
    _import_all()
    while True:
        message, streams, _, _ = socket.recv_fds(requests, 2**20, 3)
        if not message:
            raise SystemExit
        reader, writer = os.pipe()
        if not (between := os.fork()):
            if child := os.fork():
                os.write(writer, str(child).encode())
                os._exit(0)
            for descriptor in (requests.detach(), reader, writer):
                os.close(descriptor)
            return _begin(streams, *json.loads(message))
        os.waitpid(between, 0)  # from here on the tests are the child's parent
        requests.send(os.read(reader, 100))
        for descriptor in (*streams, reader, writer):
            os.close(descriptor)


def _begin(
    streams: Sequence[int], arguments: list[str], folder: str, environment: dict[str, str]
) -> list[str]:
    """Make of a forked process what a started one is."""
    import numpy as np
    import pyglet

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    np.random.seed()  # noqa: NPY002
    pyglet.options["shadow_window"] = True
    pyglet.gl._create_shadow_window()
    return arguments


def _run(arguments: list[str]) -> None:
    """Do what Python does with its arguments."""
    match arguments:
        case ["-c", code, *_]:
            sys.argv, sys.path[0] = ["-c", *arguments[2:]], ""
            exec(code, {"__name__": "__main__"})
        case ["-m", module, *_]:
            sys.argv, sys.path[0] = arguments[1:], str(Path.cwd())
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [script, *_]:
            sys.argv, sys.path[0] = arguments, str(Path(script).parent)
            runpy.run_path(script, run_name="__main__")


def _leave(ended: list[int]) -> None:
    """End without taking apart all that is imported, which takes as long as a short session."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended[-1])


if __name__ == "__main__":
    ended = [1]
    atexit.register(_leave, ended)  # first, so that what the imported modules register is done before
    try:
        _run(_serve(socket.socket(fileno=int(sys.argv[1]))))
        ended.append(0)
    except SystemExit as left:
        ended.append(left.code or 0)
        raise

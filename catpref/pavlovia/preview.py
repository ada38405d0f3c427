"""An exported session on this computer, as participants will see it, before it goes live.

A server that only this computer reaches gives the browser the export and PsychoJS, and nothing else. Outside Pavlovia
PsychoJS offers the CSV as a download; a script that is put into the page, not into the export, brings it here.
"""

import logging
import mimetypes
import os
import re
import sys
import threading
import webbrowser
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from catpref.errors import BadInput

log = logging.getLogger(__name__)

LARGEST = 64 * 2**20
"""Bytes of a CSV; that of 100,000 trials is smaller."""

_WHERE = (
    "save psychojs-VERSION.js and psychojs-VERSION.css from https://lib.pavlovia.org, or build them "
    "(github.com/psychopy/psychojs: npm install, npm run build:js, npm run build:css), in a folder, and name it with "
    "--psychojs DIR or PSYCHOJS_DIR"
)
_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".csv": "text/csv"}
"""As browsers need them; some Windows computers say that .js is plain text."""

_PAGE = "/index.html"
_BRING_CSV = """<script>
const download = HTMLAnchorElement.prototype.click;
HTMLAnchorElement.prototype.click = async function () {
  const csv = this.download.endsWith(".csv") ? await (await fetch(this.href)).blob() : null;
  const place = `data/${encodeURIComponent(this.download)}`;
  const brought = csv && await fetch(place, { method: "POST", body: csv }).catch(() => null);
  if (!brought || !brought.ok) {
    download.call(this);
  }
};
</script>"""


def find_psychojs(named: Path | None) -> Path:
    """Return the folder with PsychoJS.

    Parameters
    ----------
    named
        The folder that was named; None takes the one that the environment names as ``PSYCHOJS_DIR``.

    Raises
    ------
    BadInput
        If none is named, or PsychoJS is not in it; the message says where to get it.
    """
    folder = named or os.environ.get("PSYCHOJS_DIR")
    if not folder:
        raise BadInput(f"--preview: needs PsychoJS; {_WHERE}")
    if not _versions(Path(folder)):
        raise BadInput(f"{folder}: holds no PsychoJS; {_WHERE}")
    return Path(folder)


def _versions(folder: Path) -> list[str]:
    """Return the names, without their endings, of all PsychoJS in a folder."""
    return sorted(style.stem for style in folder.glob("psychojs-*.css") if style.with_suffix(".js").is_file())


def preview(export: Path, psychojs: Path, stimuli: Path) -> None:
    """Serve an export until Ctrl-C; the CSV of each session goes to the folder ``data`` beside the export.

    Parameters
    ----------
    export
        The folder that was exported.
    psychojs
        The folder that `find_psychojs` returned.
    stimuli
        The stimulus folder, for the line that says how to fit what was answered.
    """
    with _Server(export, psychojs, stimuli) as server, suppress(KeyboardInterrupt):
        print(f"preview: {server.address} (Ctrl-C ends it)", flush=True)
        if sys.platform != "linux" or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}:
            # Some browsers return only when they are closed.
            threading.Thread(target=webbrowser.open, args=[server.address], daemon=True).start()
        server.serve_forever()


def _site(export: Path, psychojs: Path) -> tuple[dict[str, Path], bytes]:
    """Return the files that are served, by their addresses, and the page, which is served otherwise than it is."""
    files = {f"/{path.relative_to(export).as_posix()}": path for path in export.rglob("*") if path.is_file()}
    page = files.pop(_PAGE).read_text(encoding="utf-8").replace("<head>", f"<head>\n{_BRING_CSV}", 1)
    wanted = re.findall(r"psychojs-[\w.-]+(?=\.css)", page)[0]
    there = wanted if wanted in _versions(psychojs) else _versions(psychojs)[-1]
    if there != wanted:
        log.info("%s: the export names %s; the preview runs %s", psychojs, wanted, there)
    libraries = {f"{wanted}{ending}": f"{there}{ending}" for ending in (".js", ".css", ".iife.js")}
    for address, name in re.findall(r'"(https://[^"]+/([\w.-]+))"', page):
        if (psychojs / name).is_file():  # so that a computer without a network can run it
            libraries[name] = name
            page = page.replace(address, f"lib/{name}")
    files |= {
        f"/lib/{name}": psychojs / file for name, file in libraries.items() if (psychojs / file).is_file()
    }
    return files, page.encode()


class _Server(ThreadingHTTPServer):
    """Serves one export at a free port of this computer."""

    def __init__(self, export: Path, psychojs: Path, stimuli: Path) -> None:
        self.files, self.page = _site(export, psychojs)
        self.results, self.stimuli = export.resolve().parent / "data", stimuli
        super().__init__(("127.0.0.1", 0), _Request)
        self.host = f"127.0.0.1:{self.server_port}"
        self.address = f"http://{self.host}/"

    def keep(self, name: str, content: bytes) -> None:
        """Write a CSV beside those that are there."""
        self.results.mkdir(exist_ok=True)
        path = self.results / name
        while path.exists():
            path = path.with_stem(f"{path.stem}_2")
        with path.open("xb") as file:
            file.write(content)
        print(f'{path}\nfit it: catpref fit "{path}" --stimuli "{self.stimuli}"', flush=True)


class _Request(BaseHTTPRequestHandler):
    """Answers the page of the preview, and no page of elsewhere."""

    server: Any  # a _Server

    def do_GET(self) -> None:
        """Send a file."""
        address = unquote(self.path.split("?")[0])
        file = self.server.files.get(address)
        if not self._ours():
            self._answer(HTTPStatus.FORBIDDEN)
        elif address in ("/", _PAGE):
            self._answer(HTTPStatus.OK, self.server.page, ".html")
        elif file:
            self._answer(HTTPStatus.OK, file.read_bytes(), file.suffix)
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Keep a CSV."""
        found = re.fullmatch(r"/data/(\w[\w. -]*\.csv)", unquote(self.path))
        length = self.headers.get("Content-Length", "")
        if not (found and self._ours() and length.isdecimal() and int(length) <= LARGEST):
            self._answer(HTTPStatus.FORBIDDEN)
            return
        self.server.keep(found[1], self.rfile.read(int(length)))
        self._answer(HTTPStatus.CREATED)

    def _ours(self) -> bool:
        """Return whether the request comes from the preview's own page; another in the same browser may send some."""
        origin, host = self.headers.get("Origin"), self.headers.get("Host")
        return host == self.server.host and origin in (None, f"http://{host}")

    def _answer(self, status: HTTPStatus, content: bytes = b"", suffix: str = ".txt") -> None:
        self.send_response(status)
        self.send_header("Content-Type", _KINDS.get(suffix) or mimetypes.types_map.get(suffix, "text/plain"))
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print no line for each file."""

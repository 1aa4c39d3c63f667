"""Files that visitors send: each in a folder with a name that nobody can guess, in bounded room, deleted when old.

Gradio's own upload route keeps everything for a day, refuses all visitors once one has filled its folder, and fails
without a word where a file has no name or the disk is full. Its route for files fetches other hosts' ones.
"""

import asyncio
import mimetypes
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from gradio.utils import get_upload_folder
from gradio_client.utils import strip_invalid_filename_characters
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from serving.disk import full
from serving.shares import Shares
from ui.web.guard import address

# Seconds that a file is kept; long enough to paint over it again and again.
KEPT = 3600.0
MAX_FILES, MAX_FIELDS, MAX_FIELD_BYTES = 4, 16, 64 * 2**10
# What a browser shows and cannot run; all else is handed out to be saved.
SHOWN = ("image/png", "image/jpeg", "image/webp", "image/gif")


@dataclass(frozen=True)
class Upload:
    """A file that came: from which address, how many bytes, and when."""

    who: str
    size: int
    since: float


class Uploads:
    """The files that are there. Lives on one event loop.

    Of `total_bytes` an address has a quarter, though room for one file of `file_bytes` at least. Where there is no room
    its own oldest files give way, then the oldest of whoever has most: nobody is refused for what another sent.
    """

    def __init__(self, total_bytes: int, file_bytes: int, clock: Callable[[], float] = time.monotonic):
        request = file_bytes + 2**20
        self._total, self._share = max(total_bytes, request), max(total_bytes // 4, request)
        self._file_bytes, self._clock = file_bytes, clock
        self._files: dict[str, Upload] = {}
        self._coming = Shares(self._total, self._share)

    def __contains__(self, path: object) -> bool:
        """Whether it is the path of a file that was sent here and is still kept."""
        return path in self._files

    async def receive(self, request: Request) -> Response:
        """The upload route: the paths of the files of a form, as gradio gives them."""
        who, length = address(request.scope), int(request.headers.get("content-length", 0))
        with self._coming.taken(who, length) as fits:
            if not fits:
                return PlainTextResponse("Too much is being uploaded at once; try again in a minute.", 503)
            try:
                if not request.headers.get("content-type", "").startswith("multipart/form-data"):
                    return PlainTextResponse("An upload is a form, multipart/form-data.", 400)
                return await self._taken(request, who)
            except MultiPartException as error:
                return PlainTextResponse(error.message, 400)
            except ClientDisconnect:
                return Response(status_code=400)
            except OSError as error:
                if not full(error):
                    raise
                return PlainTextResponse("There is no room for uploads left; try again later.", 507)

    async def _taken(self, request: Request, who: str) -> Response:
        parser = MultiPartParser(request.headers, request.stream(), max_files=MAX_FILES, max_fields=MAX_FIELDS,
                                 max_part_size=MAX_FIELD_BYTES)  # fmt: skip
        # What is larger lies on the disk while it comes.
        parser.spool_max_size = MAX_FIELD_BYTES
        form = await parser.parse()
        try:
            sent = form.getlist("files")
            files = [file for file in sent if not isinstance(file, str)]
            if not files or len(files) < len(sent):
                return PlainTextResponse('An upload holds one file or more, each as a field "files".', 400)
            if any((file.size or 0) > self._file_bytes for file in files):
                words = f"The file exceeds the maximum allowed size of {self._file_bytes >> 20} MB."
                return PlainTextResponse(words, 413)
            return JSONResponse([await self.add(who, file.filename or "", file.file) for file in files])
        finally:
            await form.close()

    async def add(self, who: str, name: str, source: BinaryIO) -> str:
        """Keep what `source` holds, under `name`; its path. Raises OSError."""
        # Gradio puts what it makes under hashes, which whoever knows the content can tell.
        folder = Path(get_upload_folder()) / token_hex(32)
        path = folder / (strip_invalid_filename_characters(Path(name).name) or "file")
        try:
            size = await asyncio.to_thread(copied, source, path)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        self._make_room(who, size)
        self._files[str(path)] = Upload(who, size, self._clock())
        return str(path)

    def forget(self, path: str | Path) -> None:
        """Delete one that is not needed any more."""
        if self._files.pop(str(path), None):
            shutil.rmtree(Path(path).parent, ignore_errors=True)

    def _make_room(self, who: str, size: int) -> None:
        for path, file in list(self._files.items()):
            if self._clock() - file.since > KEPT:
                self.forget(path)
        used: Counter[str] = Counter()
        for file in self._files.values():
            used[file.who] += file.size
        while self._files and (used[who] + size > self._share or used.total() + size > self._total):
            most = who if used[who] + size > self._share else max(used, key=used.__getitem__)
            # In the order in which they came.
            path, file = next((path, file) for path, file in self._files.items() if file.who == most)
            used[most] -= file.size
            self.forget(path)


def copied(source: BinaryIO, path: Path) -> int:
    """Write a file into a new folder; its bytes."""
    path.parent.mkdir(mode=0o700, parents=True)
    source.seek(0)
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    return path.stat().st_size


def file_routes(uploads: Uploads) -> list[Route]:
    """Where files are sent, and where those of gradio's folder are: by their path, and without it."""

    def by_path(request: Request) -> Response:
        return served(request.path_params["path"])

    def by_name(request: Request) -> Response:
        return served(str(Path(get_upload_folder(), request.path_params["folder"], request.path_params["name"])))

    # With and without a slash at its end, as gradio has it.
    receiving = [Route(f"/gradio_api/upload{end}", uploads.receive, methods=["POST"]) for end in ("", "/")]
    return [*receiving, Route("/gradio_api/file={path:path}", by_path), Route("/file/{folder}/{name}", by_name)]


def served(name: str) -> Response:
    """A file of gradio's folder, in a folder of its own there; 403 for everything else, whether it is there or not."""
    try:
        # Resolved, so that neither dots nor links lead out of the folder.
        path = Path(name).resolve(strict=True)
        inside = path.parent.parent == Path(get_upload_folder()).resolve() and path.is_file()
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside or "://" in name:
        return JSONResponse({"detail": "File not allowed."}, 403)
    kind = mimetypes.guess_type(path.name)[0]
    shown = kind in SHOWN
    return FileResponse(
        path, media_type=kind if shown else "application/octet-stream", filename=path.name,
        content_disposition_type="inline" if shown else "attachment",
    )  # fmt: skip


def public_path(path: str) -> str:
    """The path of a file of gradio's folder under /file/, without where that folder is."""
    return "/".join(Path(path).parts[-2:])

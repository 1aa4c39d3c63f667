"""Adapters on the Hugging Face Hub: from a reference to one file of one commit. Every wait has an end.

What visitors ask for is asked for without the operator's token: they see what is public, and nothing else.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import httpx2
from huggingface_hub import HfApi, ModelInfo, constants, get_session, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from lora.errors import HubError, InvalidRequest, shown
from lora.files import CONFIG, CONFIGURED, MAX_CONFIG_BYTES, check_ending

HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
REFERENCE = re.compile(
    r"(?P<repo>[a-z0-9][\w.-]{0,95}/[a-z0-9][\w.-]{0,95})(@(?P<revision>refs/pr/\d{1,6}|\w[\w.-]{0,99}))?(/(?P<file>.+))?",
    re.ASCII | re.IGNORECASE,
)
ALLOWED = 'of the form "owner/repo", "owner/repo@revision" or "owner/repo/file.safetensors"'
USUAL = "pytorch_lora_weights.safetensors"
CANDIDATES, TRIES, LONGEST_PAUSE = 10, 3, 10.0
T = TypeVar("T")


@dataclass(frozen=True)
class Reference:
    """What somebody asked for: a repository, and perhaps a revision and a file of it."""

    repo: str
    revision: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class HubFile:
    """One file of one commit: `size` in bytes, `sha256` where the Hub knows it, `config` PEFT's (file, size) beside."""

    repo: str
    commit: str
    file: str
    size: int
    sha256: str | None
    licence: str
    config: tuple[str, int] | None

    @property
    def source(self) -> str:
        """How it is shown: the repository and what of it is pinned."""
        return f"{self.repo}@{self.commit[:12]}"

    @property
    def bytes(self) -> int:
        """Of all that is downloaded."""
        return self.size + (self.config[1] if self.config else 0)


def parse(text: object) -> Reference:
    """`owner/repo[@revision][/file.safetensors]`, or an address of huggingface.co. Raises InvalidRequest."""
    bad = InvalidRequest("repo_id", text, ALLOWED)
    if not isinstance(text, str) or len(text) > 1000 or not text.isprintable():
        raise bad
    plain = text.strip()
    try:
        url = urlsplit(plain if "://" in plain else f"//{plain}")
    # Brackets that are no IPv6 address.
    except ValueError:
        raise bad from None
    if url.netloc.lower() in HOSTS:
        plain = unquote(url.path).strip("/")
        # .../blob/REVISION/FILE, as the Hub's pages are addressed.
        plain = re.sub(r"^([^/]+/[^/]+)/(?:blob|resolve|tree)/", r"\1@", plain)
    match = REFERENCE.fullmatch(plain)
    if match is None or {"", ".", ".."} & set((match["file"] or "file").split("/")) or "\\" in plain:
        raise bad
    if match["file"]:
        check_ending(match["file"])
    return Reference(match["repo"], match["revision"], match["file"])


class Hub:
    """The Hub as a client without a name sees it. Its methods block: call them in threads."""

    def __init__(self, timeout: float = 10.0, seconds: float = 300.0, endpoint: str | None = None):
        """`timeout` seconds without an answer, or `seconds` for a whole file, and it is given up."""
        self.timeout = timeout
        self.seconds = seconds
        self.endpoint = endpoint or constants.ENDPOINT

    def resolve(self, reference: Reference) -> HubFile:
        """Find the commit that a reference means now, and the file. Raises HubError."""
        api, repo = HfApi(self.endpoint, token=False), reference.repo
        info = self._asked(
            repo, lambda: api.model_info(repo, revision=reference.revision, timeout=self.timeout, files_metadata=True)
        )
        if info.gated:
            raise HubError(f"{repo} is gated; get the file from its page and upload it.")
        files = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        file = files[chosen(repo, reference.file, list(files))]
        commit = info.sha or ""
        if file.size is None or not re.fullmatch("[0-9a-f]{40}", commit):
            raise HubError(f"The Hub does not tell the size and commit of {repo}; try again later.")
        path = PurePosixPath(file.rfilename)
        config = files.get(str(path.with_name(CONFIG))) if path.name == CONFIGURED else None
        beside = config and (config.rfilename, config.size or 0)
        return HubFile(
            repo=repo,
            commit=commit,
            file=file.rfilename,
            size=file.size,
            sha256=file.lfs.sha256 if file.lfs else None,
            licence=tagged(info, "license:") or "unknown",
            config=beside if beside and beside[1] <= MAX_CONFIG_BYTES else None,
        )

    def download(self, found: HubFile, target: Path) -> None:
        """Fetch a file, and PEFT's config beside it, by its commit. Whole and as announced, or HubError is raised."""
        end = time.monotonic() + self.seconds
        if found.config:
            self._fetch(found, found.config[0], found.config[1], None, target.with_name(CONFIG), end)
        self._fetch(found, found.file, found.size, found.sha256, target, end)

    def search(self, words: str, base: str, limit: int = 12) -> list[dict]:
        """The most downloaded LoRA adapters whose card names that base, of any where it is "". Raises HubError."""
        # Not HfApi.list_models: it takes no time-out, and sleeps for as long as a rate limit says.
        params: dict[str, Any] = {"search": words, "filter": ["lora"], "sort": "downloads", "limit": limit}
        if base:
            params["filter"].append(f"base_model:adapter:{base}")

        def ask() -> list[ModelInfo]:
            headers = build_hf_headers(token=False)
            url = f"{self.endpoint}/api/models"
            answer = get_session().get(url, params=params, headers=headers, timeout=self.timeout)
            hf_raise_for_status(answer)
            return [ModelInfo(**item) for item in answer.json()[:limit]]

        return [
            {
                "id": info.id,
                "downloads": info.downloads or 0,
                "likes": info.likes or 0,
                "licence": tagged(info, "license:") or "unknown",
                "base": tagged(info, "base_model:adapter:") or "unknown",
                "url": f"{self.endpoint}/{info.id}",
            }
            for info in self._asked("the search", ask)
        ]

    def cached(self, repo: str, file: str, revision: str = "main") -> tuple[Path, str]:
        """A file of the operator's choice from the Hub's cache, downloaded where it is not there: (path, commit)."""
        path = Path(self._asked(repo, lambda: hf_hub_download(repo, file, revision=revision)))
        # The cache keeps a file under snapshots/COMMIT/.
        return path, path.relative_to(path.parents[len(Path(file).parts)]).parts[0]

    def _fetch(self, found: HubFile, file: str, size: int, digest: str | None, target: Path, end: float) -> None:
        url = hf_hub_url(found.repo, file, revision=found.commit, endpoint=self.endpoint)
        got = self._asked(found.repo, lambda: self._stream(url, size, target, end), end)
        if digest and got != digest:
            raise HubError(f"What came of {found.repo} is not what the Hub announced; try again later.")

    def _stream(self, url: str, size: int, target: Path, end: float) -> str:
        """Write what comes, from the start at each try; its hash."""
        digest, done = sha256(), 0
        headers = build_hf_headers(token=False) | {"Accept-Encoding": "identity"}
        with (
            get_session().stream("GET", url, headers=headers, timeout=self.timeout) as answer,
            target.open("wb") as out,
        ):
            hf_raise_for_status(answer)
            for chunk in answer.iter_bytes():
                done += len(chunk)
                if done > size:
                    raise HubError("The file is larger than the Hub announced; try again later.")
                if time.monotonic() > end:
                    raise HubError(f"The file did not come within {self.seconds:g} s; try again later.")
                digest.update(chunk)
                out.write(chunk)
        if done < size:
            raise httpx2.RemoteProtocolError("cut off")
        return digest.hexdigest()

    def _asked(self, what: str, ask: Callable[[], T], end: float = float("inf")) -> T:
        """Ask up to TRIES times, with growing pauses, where it may help. Errors of the network come out in words."""
        for attempt in range(TRIES):
            try:
                return ask()
            except (httpx2.HTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError, ValueError) as error:
                wait = pause(error, attempt)
                if wait is None or attempt + 1 == TRIES or time.monotonic() + wait > end:
                    raise HubError(self._words(error, what)) from error
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _words(self, error: Exception, what: str) -> str:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
        if isinstance(error, HFValidationError):
            return f"{shown(what, 80)} is no name that the Hub takes."
        if isinstance(error, (OfflineModeIsEnabled, LocalEntryNotFoundError, httpx2.ConnectError)):
            return "The Hugging Face Hub cannot be reached from here; get the file elsewhere and upload it."
        if isinstance(error, httpx2.TimeoutException):
            return f"The Hugging Face Hub did not answer within {self.timeout:g} s; try again later."
        if isinstance(error, RevisionNotFoundError):
            return f"{what} has no such revision on the Hub."
        if isinstance(error, EntryNotFoundError):
            return f"{what} has no such file on the Hub."
        if isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
            return f"There is no public model {what} on the Hub."
        if status in (401, 403):
            return f"{what} is gated or private; get the file from its page and upload it."
        if status == 429:
            return "The Hugging Face Hub takes no more requests from here for now; try again in a few minutes."
        if status:
            return f"The Hugging Face Hub answered with error {status}; try again later."
        # No JSON: a proxy's page, perhaps.
        if isinstance(error, ValueError):
            return "The Hugging Face Hub's answer could not be read; try again later."
        return "The connection to the Hugging Face Hub broke off; try again."


def chosen(repo: str, wanted: str | None, files: list[str]) -> str:
    """The file that is meant: the named one, the only one, or the one of the usual name. Raises HubError."""
    candidates = [file for file in files if file.endswith(".safetensors")]
    if wanted in candidates:
        return wanted
    if wanted is None and (len(candidates) == 1 or USUAL in candidates):
        return USUAL if USUAL in candidates else candidates[0]
    if not candidates:
        raise HubError(f"{repo} has no .safetensors file.")
    some = ", ".join(shown(file, 80) for file in candidates[:CANDIDATES])
    some += f" and {len(candidates) - CANDIDATES} more" if len(candidates) > CANDIDATES else ""
    problem = f"has no {shown(wanted, 80)}" if wanted else "has several files"
    raise HubError(f'{repo} {problem}; choose one as "{repo}/FILE" of {some}.')


def pause(error: Exception, attempt: int) -> float | None:
    """Seconds after which asking again may help; None where it does not."""
    if isinstance(error, HfHubHTTPError):
        status, after = error.response.status_code, error.response.headers.get("Retry-After", "")
        if status != 429 and status < 500:
            return None
        if after.isdecimal():
            return float(after) if float(after) <= LONGEST_PAUSE else None
    elif not isinstance(error, httpx2.TransportError):
        return None
    return 0.5 * 2**attempt


def tagged(info: ModelInfo, prefix: str) -> str | None:
    """What a model's tags say after that prefix."""
    return next((tag.removeprefix(prefix) for tag in info.tags or () if tag.startswith(prefix)), None)

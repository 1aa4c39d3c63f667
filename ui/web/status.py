"""The state of the app in numbers, for its operator: no names, no prompts, nothing of any visitor."""

import time
import tomllib
from functools import cache
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from serving.generation import GenerationService

ROOT = Path(__file__).resolve().parents[2]
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>LoRA Atelier: status</title><style>
:root {{ color-scheme: light dark; }} body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 560px; margin: 32px auto;
padding: 0 16px; }} h1 {{ font: 600 22px Georgia, serif; }} table {{ width: 100%; border-collapse: collapse; }}
td {{ padding: 5px 0; border-top: 1px solid #8885; font-variant-numeric: tabular-nums; }}
td + td {{ text-align: right; }}
</style><h1>LoRA Atelier</h1><table>{rows}</table></html>"""


@cache
def version() -> str:
    """The version of this software."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def status_routes(service: GenerationService) -> list[Route]:
    """/status for people, /status.json or /status?format=json for programs."""
    began = time.monotonic()

    # A coroutine: it runs on the event loop, where the queue lives.
    async def status(request: Request) -> Response:
        facts = {"version": version(), "uptime_seconds": round(time.monotonic() - began), **service.state()}
        if request.url.path.endswith(".json") or request.query_params.get("format") == "json":
            return JSONResponse(facts, headers={"Cache-Control": "no-store"})
        rows = "".join(f"<tr><td>{escape(name)}<td>{escape(value)}" for name, value in _lines(facts))
        return HTMLResponse(PAGE.format(rows=rows), headers={"Cache-Control": "no-store"})

    return [Route("/status", status), Route("/status.json", status)]


def _lines(facts: dict, before: str = "") -> list[tuple[str, str]]:
    """The numbers one by one, bytes as megabytes."""
    lines = []
    for key, value in facts.items():
        name = f"{before}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            lines += _lines(value, f"{name}: ")
        elif "bytes" in name:
            lines.append((name.replace("bytes", "MB"), f"{value / 2**20:.1f}"))
        else:
            lines.append((name, "–" if value is None else str(value)))
    return lines

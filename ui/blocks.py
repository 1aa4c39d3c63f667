"""The page and its endpoints, put together."""

import gradio as gr

from lora.errors import InvalidSettings
from lora.library import Library
from pipeline.profiles import ModelProfile
from pipeline.text.variants import read_wildcards
from serving.generation import GenerationService
from serving.history import History
from serving.jobs import Jobs
from serving.queue import FairQueue
from serving.request_log import RequestLog
from serving.settings import Settings
from serving.shutdown import GracefulShutdown
from serving.styles import Styles
from serving.trainings import TrainingLimits, Trainings
from serving.workers.base import Worker
from ui.api.agents import Agents
from ui.api.endpoints import add_endpoints
from ui.api.history import add_history_endpoints
from ui.api.openapi import openapi_route
from ui.api.styles import add_style_endpoints
from ui.api.training import add_training_endpoint
from ui.atelier import Atelier
from ui.errors import ending, sentence
from ui.pages.common.actions import add_actions
from ui.pages.common.theme import PAGES, theme
from ui.pages.common.widget import keyboard, shared_script
from ui.pages.compare.page import add_compare_page
from ui.pages.history.page import add_history_page
from ui.pages.paint.offer import add_offer
from ui.pages.paint.wiring import add_paint_page
from ui.pages.train.page import add_train_page
from ui.web.app import app_arguments, style_routes, training_routes
from ui.web.economy import economize
from ui.web.sessions import bound_sessions, swept_sessions
from ui.web.status import status_routes, version
from ui.web.uploads import Uploads, file_routes

TITLE = "LoRA Atelier"
HOUR, MB = 3600, 2**20
HEADER = """
<header class="masthead">
  <span class="mark" aria-hidden="true"><i></i><i></i><i></i></span>
  <h1>LoRA Atelier</h1>
  <p>{motto}</p>
</header>
"""


def open_service(
    worker: Worker, library: Library, settings: Settings, styles: Styles | None = None
) -> GenerationService:
    """What paints, styles and queue as the settings want them."""
    queue = FairQueue(settings.queue_size, settings.session_queue_size, worker.places)
    wildcards = read_wildcards(settings.wildcards_dir) if settings.wildcards_dir else {}
    log = RequestLog(settings.log_prompts)
    return GenerationService(worker, library, queue, wildcards, log, open_credentials(settings), styles)


def open_trainings(service: GenerationService, settings: Settings) -> Trainings | None:
    """The trainings of this host, if it takes any. Raises TrainingError."""
    if not (settings.trainings and service.styles):
        return None
    # A GPU that is lent to whoever asks is not there after a restart, when nobody does.
    limits = TrainingLimits(settings.slice_seconds, settings.trainings, settings.train_steps,
                            resumes=not settings.spaces_zero_gpu)  # fmt: skip
    return Trainings(service, service.styles, settings.data_dir, limits, sentence)


def open_credentials(settings: Settings):
    """What pictures are signed with, if they are. Raises InvalidSettings."""
    if not (settings.c2pa_key or settings.c2pa_cert):
        return None
    for name in ("c2pa_key", "c2pa_cert"):
        if not getattr(settings, name):
            raise InvalidSettings(f"{name.upper()} is empty, but the other one is set; pictures are signed with both.")
    try:
        from pipeline.metadata.credentials import Credentials
    except ImportError:
        how = "pip install -r serving/requirements-c2pa.txt"
        raise InvalidSettings(f"C2PA_KEY is set, but c2pa-python is not installed; {how}.") from None
    return Credentials(settings.c2pa_key, settings.c2pa_cert, version())


def build(
    service: GenerationService, settings: Settings, history: History, trainings: Trainings | None = None
) -> Atelier:
    """The Blocks, with its queue. Pictures are deleted from the server a day after they were made."""
    jobs = Jobs(service.forget, settings.reload_seconds, ending=ending, sooner=service.queue.sooner)
    uploads = Uploads(settings.uploads_total_mb * MB, settings.upload_mb * MB)
    with Atelier(
        uploads, title=TITLE, analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR), fill_width=True
    ) as blocks:
        gr.HTML(HEADER.format(motto=motto(service.profile)), apply_default_css=False, elem_id="masthead")
        with gr.Tabs(elem_id="pages") as tabs:
            with gr.Tab("Paint", id="paint"):
                page = add_paint_page(service, jobs, history, tabs)
                add_offer(service.profile, settings)
            with gr.Tab("Compare", id="compare") as tab:
                add_compare_page(service, jobs, history, page.fields, (tabs, tab))
            if trainings:
                with gr.Tab("Train", id="train") as tab:
                    add_train_page(service, trainings, (tabs, tab))
            with gr.Tab("History", id="history"):
                add_history_page(history)
        add_actions(service, history, page.fields, page.reader, tabs)
        keyboard()
        add_endpoints(service, history)
        add_history_endpoints(service, history)
        if service.styles:
            add_style_endpoints(service, service.styles, history)
        if trainings:
            add_training_endpoint(service, trainings)
        blocks.unload(_leave(jobs))
    blocks.queue(api_open=False, max_size=settings.queue_size)
    economize(blocks)
    bound_sessions(blocks)
    blocks.agents = Agents(blocks.endpoints, uploads, jobs, TITLE)
    # The page tells how agents connect where gradio's own server is there; ours is in its place.
    blocks.mcp_server = True
    return blocks


def _leave(jobs: Jobs):
    # A coroutine, so that it runs on the event loop, where the jobs live.
    async def leave(request: gr.Request) -> None:
        jobs.leave(request.session_hash)

    return leave


def motto(profile: ModelProfile) -> str:
    """What this app paints with."""
    size = f"{profile.limits.width} × {profile.limits.height} px"
    return f"Words become pictures; styles go on top. <span>{profile.name} model, {size}</span>"


def launch_arguments(
    blocks: Atelier,
    service: GenerationService,
    settings: Settings,
    shutdown: GracefulShutdown,
    history: History,
    trainings: Trainings | None = None,
) -> dict:
    """How the Blocks is served. In gradio 6 theme and style belong here."""
    routes = [
        *file_routes(blocks.uploads),
        *blocks.agents.routes(),
        openapi_route(blocks.endpoints, TITLE, version()),
        *(style_routes(service.styles) if service.styles else []),
        *(training_routes(trainings) if trainings else []),
        *(status_routes(service) if settings.status_page else []),
    ]

    return {
        "server_name": settings.address,
        "server_port": settings.port,
        "theme": theme(),
        "css_paths": [
            PAGES / f
            for f in (
                "common/base.css",
                "paint/paint.css",
                "compare/compare.css",
                "train/train.css",
                "history/history.css",
                "common/viewer.css",
            )
        ],
        "head": shared_script(),
        "favicon_path": PAGES / "common" / "favicon.svg",
        "app_kwargs": app_arguments(
            service.library,
            history,
            settings,
            routes,
            (
                swept_sessions,
                blocks.agents.running,
                service.decoder.ready,
                service.following,
                shutdown.lifespan,
                *([trainings.running] if trainings else []),
            ),
        ),
        # Those who wait in the queue hold no thread, but each takes one of gradio's slots of that name.
        "max_threads": settings.queue_size + 40,
        # Gradio keeps the last values of each session, previews among them; nobody needs them again.
        "state_session_capacity": 200,
        "max_file_size": f"{settings.upload_mb}mb",
        "show_error": False,
        "share": False,
        "ssr_mode": False,
        "mcp_server": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": ["api", "settings"],
        "quiet": True,
    }

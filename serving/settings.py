"""The one reader of the environment. Only app.py makes a `Settings`."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lora.errors import InvalidSettings, shown

# A page of the Hub shows a Space in a frame; the Space's own requests come from its own host.
SPACES = ("huggingface.co", "*.hf.space")
INNER = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


class Settings(BaseSettings):
    """What an operator can choose; every field is the environment variable of that name in capitals.

    `profile` "" takes a GPU's profile where there is one. `host` "" listens to this machine only, on a Space to all.
    `queue_size` and `session_queue_size` bound the waiting jobs in all and of one session. `upload_mb`
    bounds a file that a visitor uploads or fetches from the Hub, `uploads_per_session` their number, and
    `uploads_total_mb` all visitors' together. The Hub is given up after `hub_timeout` seconds without an answer, and
    `hub_seconds` for a whole file. `threads` 0 leaves the number of CPU threads to torch.
    An address may send `requests_per_minute`, 0 without end. `allowed_origins` are hosts, separated by commas, whose
    pages may use this one beside its own. `allowed_hosts` are the names under which it is asked for, beside addresses
    and "localhost"; "" on a Space allows all, since nobody can point a name at it. `trusted_proxies` are addresses and
    networks that are believed when they say for whom they ask. When it is asked to end, the running job has
    `drain_seconds`.
    `status_page` shows /status, `log_prompts` writes prompts into the log.
    `data_dir` has the visitors' history: `history_mb` of pictures in all, `history_per_owner` of one visitor, for
    `history_days`; and the styles that they keep, `styles_mb` in all, `styles_per_owner` of one visitor. A job goes on
    for `reload_seconds` while no page watches it.
    `wildcards_dir` has the lists that __name__ in a prompt draws from: name.txt, a choice a line, read at the start.
    `upscalers_dir` has networks that enlarge pictures in a second pass, .safetensors files, looked at at the start.
    `trainings` are taken at once, 0 for none, of up to `train_steps` steps each, in slices of `train_slice_seconds`,
    which is as long as anybody waits for one; 0 is 15 s, on ZeroGPU 60 s.
    With `ray_address`, "local" or "auto" or one of a cluster's head, engines are from `replicas_min` to `replicas_max`
    replicas there, 0 for as many as there are GPUs; each takes `replica_gpus`, where there are any, and `replica_cpus`.
    With `c2pa_key` and `c2pa_cert`, PEM texts or files of them, pictures are signed when they are handed out.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    profile: Literal["", "embedded", "laptop", "sdxl", "custom"] = ""
    base_model: str = ""
    adapters_dir: Path | None = None
    wildcards_dir: Path | None = None
    upscalers_dir: Path | None = None
    host: str = ""
    port: int = Field(7860, ge=1, le=65535)
    queue_size: int = Field(64, ge=1, le=1000)
    session_queue_size: int = Field(8, ge=1, le=1000)
    upload_mb: int = Field(1024, ge=1, le=2048)
    uploads_per_session: int = Field(16, ge=1, le=1000)
    uploads_total_mb: int = Field(4096, ge=1, le=2**20)
    hub_timeout: float = Field(10, gt=0, le=600)
    hub_seconds: float = Field(300, gt=0, le=3600)
    requests_per_minute: int = Field(600, ge=0, le=10**6)
    allowed_origins: str = ""
    allowed_hosts: str = ""
    trusted_proxies: str = ""
    drain_seconds: float = Field(30, ge=0, le=3600)
    status_page: bool = True
    data_dir: Path = Path(__file__).resolve().parents[1] / "data"
    history_mb: int = Field(2048, ge=1, le=2**20)
    history_per_owner: int = Field(500, ge=1, le=100_000)
    history_days: float = Field(30, gt=0, le=3650)
    styles_mb: int = Field(2048, ge=1, le=2**20)
    styles_per_owner: int = Field(50, ge=1, le=10_000)
    trainings: int = Field(8, ge=0, le=1000)
    train_steps: int = Field(5000, ge=1, le=1_000_000)
    train_slice_seconds: float = Field(0, ge=0, le=600)
    reload_seconds: float = Field(20, ge=0, le=3600)
    threads: int = Field(0, ge=0, le=1024)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_prompts: bool = False
    ray_address: str = ""
    replicas_min: int = Field(1, ge=1, le=10_000)
    replicas_max: int = Field(0, ge=0, le=10_000)
    replica_gpus: float = Field(1.0, gt=0, le=64)
    replica_cpus: float = Field(1.0, ge=0, le=1024)
    c2pa_key: str = Field("", repr=False)
    c2pa_cert: str = ""
    space_id: str = ""
    spaces_zero_gpu: bool = False

    @field_validator("profile", mode="before")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: str) -> str:
        return value.upper()

    @field_validator("adapters_dir", "wildcards_dir", "upscalers_dir")
    @classmethod
    def _folder(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError("it is not a folder")
        return value

    @property
    def address(self) -> str:
        """The network interface to listen on."""
        return self.host or ("0.0.0.0" if self.space_id else "127.0.0.1")

    @property
    def only_here(self) -> bool:
        """Whether it can be reached from this machine alone, and by no proxy of which it was told."""
        if self.space_id or self.allowed_hosts or self.trusted_proxies:
            return False
        bare = self.address.removeprefix("[").removesuffix("]")
        try:
            return ip_address(bare).is_loopback
        except ValueError:
            return bare.lower() == "localhost"

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for each in listed(value):
            try:
                ip_network(each)
            except ValueError:
                raise ValueError("it must be addresses and networks such as 10.0.0.0/8, with commas between") from None
        return value

    @property
    def slice_seconds(self) -> float:
        """The seconds of a slice of a training."""
        return self.train_slice_seconds or (60.0 if self.spaces_zero_gpu else 15.0)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that this app answers to, beside addresses; none where it answers to all."""
        named = listed(self.allowed_hosts)
        if self.space_id and not named:
            return ()
        return ("localhost", *filter(None, [self.host]), *named, *(SPACES if self.space_id else ()))

    @property
    def proxies(self) -> str:
        """The proxies that are believed, as uvicorn takes them. A Space's has an address of its inner network."""
        return ",".join(listed(self.trusted_proxies) or (INNER if self.space_id else ()))

    @property
    def origins(self) -> tuple[str, ...]:
        """The hosts whose pages may use this one, beside its own."""
        return (*listed(self.allowed_origins), *(SPACES if self.space_id else ()))


def listed(value: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(filter(None, value.replace(" ", "").split(",")))


def read_settings() -> Settings:
    """The settings of this process. Raises InvalidSettings with one sentence for each bad value."""
    try:
        return Settings()  # type: ignore[call-arg]  # pydantic's stubs take a default in Field for none.
    except ValidationError as error:
        raise InvalidSettings(" ".join(map(_sentence, error.errors()))) from None


def _sentence(error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0]).upper()
    reason = error["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    return f"{name} is {shown(error['input'])}, but {reason}."

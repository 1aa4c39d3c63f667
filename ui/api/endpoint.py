"""What is told of an endpoint, whoever asks: gradio's API page and client, OpenAPI, agents. Made from the function."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio import FileData
from gradio.utils import get_function_description

from pipeline.request.fields import Field, Text
from pipeline.request.limits import Limits

# The last row of a request that the endpoints had before any was added.
LAST_OF_FIRST = "metadata"
KINDS = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


@dataclass(frozen=True)
class Endpoint:
    """A named endpoint. `function` is as `gr.api` takes it; `properties` are the JSON schemas of its values with
    description and default, those of `files` without a type; `returns` are the names of what it gives, where these are
    several.
    """

    name: str
    function: Callable
    description: str
    properties: dict[str, dict]
    required: tuple[str, ...]
    files: frozenset[str]
    returns: tuple[str, ...] = ()

    @classmethod
    def of(cls, function: Callable, limits: Mapping[str, dict] | None = None, returns: tuple = ()) -> "Endpoint":
        """`limits` are what is known of its values beyond their types."""
        about, described, _ = get_function_description(function)
        parameters = {n: p for n, p in inspect.signature(function).parameters.items() if p.annotation is not gr.Request}
        properties = {
            name: _schema(parameter) | {"description": described.get(name, "")} | dict((limits or {}).get(name, {}))
            for name, parameter in parameters.items()
        }
        required = tuple(name for name, p in parameters.items() if p.default is p.empty)
        files = frozenset(name for name, p in parameters.items() if FileData in (*_kinds(p.annotation), *_items(p)))
        return cls(function.__name__, function, about, properties, required, files, returns)

    def arguments(self, values: Mapping[str, object], session: str) -> tuple:
        """What the function is called with, by position as gradio does, for a caller of that session."""
        signature = inspect.signature(self.function)
        asks = {"request": SimpleNamespace(session_hash=session)} if "request" in signature.parameters else {}
        bound = signature.bind(**asks, **values)
        bound.apply_defaults()
        return bound.args

    def schema(self, file: Mapping[str, Any]) -> dict:
        """The JSON schema of all its values, a file being as `file` says."""

        def told(value: dict) -> dict:
            if value.get("type") == "array":
                return value | {"items": file}
            return value | {**file, "description": f"{value['description']}; {file['description']}"}

        properties = {name: told(value) if name in self.files else value for name, value in self.properties.items()}
        return {"type": "object", "properties": properties, "required": list(self.required),
                "additionalProperties": False}  # fmt: skip


def parameter(field: Field, limits: Limits, instead: Mapping[str, object]) -> inspect.Parameter:
    """A row of a request as a parameter, its default `instead` of the row's where there is one."""
    default = instead.get(field.name, field.default_for(limits))
    if isinstance(field, Text) and field.required:
        default = inspect.Parameter.empty
    annotations: dict[type, object] = {list: list[dict], bytes: FileData | None}
    kind = annotations.get(field.type, field.type)
    return inspect.Parameter(field.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)


def parameters(function: Any, own: Callable, shared: Sequence[inspect.Parameter]) -> list[str]:
    """Let `function` have the parameters of `own`, and before its last two the `shared` ones; gives their names.

    All keep their order, also for those who call by position: what came after LAST_OF_FIRST stands at the end, behind
    what `own` can be told by name only.
    """
    signature = inspect.signature(own)
    placed = [each for each in signature.parameters.values() if each.kind is not each.KEYWORD_ONLY]
    later = [
        each.replace(kind=each.POSITIONAL_OR_KEYWORD) for each in signature.parameters.values() if each not in placed
    ]
    shared = [each for each in shared if each.name not in signature.parameters]
    names = [each.name for each in shared]
    cut = names.index(LAST_OF_FIRST) + 1 if LAST_OF_FIRST in names else len(names)
    *leading, first, second = placed
    signature = signature.replace(parameters=[*leading, *shared[:cut], first, second, *later, *shared[cut:]])
    function.__signature__ = signature
    function.__annotations__ = own.__annotations__ | {each.name: each.annotation for each in shared}
    return [name for name in signature.parameters if name != "request"]


def _kinds(annotation: object) -> tuple:
    return typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)


def _items(parameter: inspect.Parameter) -> tuple:
    """What a list is of."""
    annotation = parameter.annotation
    return typing.get_args(annotation) if typing.get_origin(annotation) is list else ()


def _schema(parameter: inspect.Parameter) -> dict:
    annotation, default = parameter.annotation, parameter.default
    if FileData in _kinds(annotation):
        return {}
    kind = typing.get_origin(annotation) or annotation
    schema: dict[str, Any] = {"type": KINDS[kind]}
    if kind is list and (items := _items(parameter)) and FileData not in items:
        schema["items"] = {"type": KINDS[items[0]]}
    return schema if default is parameter.empty else schema | {"default": default}


def in_gradio_words(info: Any, endpoints: Mapping[str, Endpoint]) -> dict:
    """Gradio's description of its endpoints, with limits and words on each value, which it leaves out."""
    for path, about in info["named_endpoints"].items():
        properties = endpoints[path.strip("/")].properties if path.strip("/") in endpoints else {}
        for parameter in about["parameters"]:
            known = properties.get(parameter["parameter_name"], {})
            parameter["type"] = parameter["type"] | known
            parameter["python_type"]["description"] = known.get("description", "")
    return info

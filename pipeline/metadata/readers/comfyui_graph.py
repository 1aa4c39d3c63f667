"""The nodes of a ComfyUI graph, and ways through them that end whatever the graph is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_HOPS = 200
# What nodes that only hold a value call it.
_VALUES = ("value", "seed", "noise_seed", "int", "float", "number", "Number", "text", "string", "String", "prompt",
           "combo")  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A node: `kind` is its class, `inputs` are values or links, which are [id, number of the output]."""

    id: str
    kind: str
    inputs: Mapping[str, Any]


class Graph:
    """A graph by its nodes' ids. What is no node is left out."""

    def __init__(self, found: Mapping[str, Any]):
        parts = (
            (name, node.get("class_type"), node.get("inputs")) for name, node in found.items() if type(node) is dict
        )
        self.nodes = {
            name: Node(name, kind, inputs) for name, kind, inputs in parts if type(kind) is str and type(inputs) is dict
        }

    def node(self, link: object) -> Node | None:
        """Where a link leads, None for what is none."""
        if isinstance(link, list) and len(link) == 2 and isinstance(link[0], (str, int)):
            return self.nodes.get(str(link[0]))
        return None

    def way(self, link: object, *names: str, strict: bool = False) -> Iterator[Node]:
        """The nodes from a link on: along the first of these inputs that is a link or, unless `strict`, the only link
        that there is. No node comes twice, and no more than MAX_HOPS come.
        """
        seen: set[str] = set()
        node = self.node(link)
        while node and node.id not in seen and len(seen) < MAX_HOPS:
            seen.add(node.id)
            yield node
            links = {name: value for name, value in node.inputs.items() if self.node(value)}
            ahead = next((links[name] for name in names if name in links), None)
            if ahead is None and len(links) == 1 and not strict:
                (ahead,) = links.values()
            node = self.node(ahead)

    def input(self, node: Node, name: str) -> Any:
        """The `value` of a node's input."""
        return self.value(node.inputs.get(name), name)

    def value(self, given: object, name: str) -> Any:
        """An input's word or number, also where another node holds it; None where that is not to be found."""
        if isinstance(given, (str, int, float)):
            return given
        for node in self.way(given):
            held = (node.inputs[key] for key in (name, *_VALUES) if key in node.inputs)
            if (found := next((each for each in held if isinstance(each, (str, int, float))), None)) is not None:
                return found
        return None

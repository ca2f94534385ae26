"""What an event says of where it came from: path, source, contract, and its place in a run.

Owns the names by which usage can be grouped without a dimension of the meter, and the tree of a
run's steps. A trace is told by CloudEvents extension attributes, beside `data`: `trace_id` (or a
W3C `traceparent`), `span_id`, `parent_id`, `run` and `step`. They never change what an event counts
for.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from taximeter.domain.metering.event import Event
from taximeter.domain.metering.fold import text_of

TRACE_CHARS_MAX = 256
GROUP_NAMES = ("path", "source", "subscription", "trace_id", "run", "step")
_is_level = re.compile(r"path\.([1-9]|1[0-6])").fullmatch

AttributeOf = Callable[[Event], str]


def attribute_of(name: str) -> AttributeOf | None:
    """How an event tells the group `name` ("" where it does not): one of GROUP_NAMES, or `path.N`,
    the first N parts of its path. None for any other name.
    """
    if level := _is_level(name):
        depth = int(level[1])
        return lambda event: "/".join((event.path or "").split("/")[:depth])
    own: dict[str, AttributeOf] = {
        "path": lambda event: event.path or "",
        "source": lambda event: event.source,
        "subscription": lambda event: event.subscription or "",
        "trace_id": trace_of,
        "run": lambda event: _text(event, "run"),
        "step": lambda event: _text(event, "step"),
    }
    return own.get(name)


def trace_of(event: Event) -> str:
    """The run that an event belongs to; "" for none."""
    return _text(event, "trace_id") or _text(event, "traceparent")[3:35]


def run_name(event: Event) -> str:
    """What kind of run it is; "" where it does not say."""
    return _text(event, "run")


class Place(NamedTuple):
    """Where an event stands in its run: in the step `id`, below `parent` ("": none). `name` is what
    the step is called.
    """

    id: str
    parent: str
    name: str


def place_of(event: Event) -> Place:
    """An event without a `span_id` is a step of its own; the span of a `traceparent` is the one
    that sent it, so its parent.
    """
    step = _text(event, "span_id") or event.id
    parent = _text(event, "parent_id") or _text(event, "traceparent")[36:52]
    return Place(step, "" if parent == step else parent, _text(event, "step"))


def _text(event: Event, name: str) -> str:
    value = None if event.attributes is None else event.attributes.get(name)
    return (text_of(value) or "")[:TRACE_CHARS_MAX]


class Node(NamedTuple):
    """A step in its tree; `depth` 0 is the top."""

    id: str
    parent: str | None
    depth: int


def tree(steps: Sequence[tuple[str, str]]) -> list[Node]:
    """Steps, given as (id, parent) in their order, each followed by what lies below it. A parent
    that is no step itself ("" means none) stands at the top; of steps that lie below each other in
    a circle, the first does.
    """
    known = {step for step, _ in steps}
    below: dict[str, list[str]] = {}
    roots = []
    for step, parent in steps:
        if parent and parent not in known:
            known.add(parent)
            roots.append(parent)
        if parent:
            below.setdefault(parent, []).append(step)
        else:
            roots.append(step)
    found: dict[str, Node] = {}
    for root in [*roots, *(step for step, _ in steps)]:
        waiting = [Node(root, None, 0)]
        while waiting:
            node = waiting.pop()
            if node.id not in found:
                found[node.id] = node
                children = reversed(below.get(node.id, ()))
                waiting += [Node(child, node.id, node.depth + 1) for child in children]
    return list(found.values())

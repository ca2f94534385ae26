"""What changes from one plan document to another: field by field, and in words.

Owns which parts of two documents belong together (prices by key, rates by what they match, tiers
by their place) and the sentence for each change. What means the same in both (`"0.30"` and
`"0.3"`, a default that is now written down) is no change.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeGuard

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.fields import read_number, scalar_text
from taximeter.kernel.errors import Invalid

Kind = Literal["added", "removed", "changed", "moved"]
_Path = tuple[str | int, ...]

_IDENTITIES = ("key", "match", "asset")
_SAID = ("key", "feature")  # by the words before
_BRIEF_MEMBERS_MAX = 6


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `path` is where it stands in the document after (what was removed: before),
    `price` the key of the price it belongs to (None: the plan itself); `before` and `after` are as
    written, None where it is not there.
    """

    kind: Kind
    path: str
    price: str | None
    before: object
    after: object
    summary: str


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where two parts that belong together stand, and how people call the place."""

    before: _Path
    after: _Path
    words: tuple[str, ...]

    def inside(self, before: str | int, after: str | int, *words: str) -> "_Spot":
        return _Spot((*self.before, before), (*self.after, after), (*self.words, *words))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The changes from one valid plan document to another, in the order of the one after."""
    if parse_plan(before) == parse_plan(after):
        return []
    found = _compare_objects(before, after, _Spot((), (), ()))
    return [
        _change(kind, spot, old, new, before, after)
        for kind, spot, old, new in found
        if kind == "moved" or not _means_the_same(before, spot, old, new)
    ]


_Found = tuple[Kind, _Spot, object, object]


def _compare_objects(
    before: Mapping[str, Any], after: Mapping[str, Any], spot: _Spot
) -> Iterator[_Found]:
    names = [*after, *(name for name in before if name not in after)]
    for name in names:
        old, new = before.get(name), after.get(name)
        if old == new and type(old) is type(new):
            continue
        place = spot.inside(name, name, name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _compare_objects(old, new, place)
        elif _is_objects(old) and _is_objects(new):
            yield from _compare_lists(old, new, place)
        else:
            yield _kind_of(old, new), place, old, new


def _kind_of(old: object, new: object) -> Kind:
    if old is None:
        return "added"
    return "removed" if new is None else "changed"


def _is_objects(value: object) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value)


def _compare_lists(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], spot: _Spot
) -> Iterator[_Found]:
    name = str(spot.after[-1])
    old_ids, new_ids = _identities(name, before, after)
    olds = {
        one: (index, item) for index, (one, item) in enumerate(zip(old_ids, before, strict=True))
    }
    parent = _Spot(spot.before, spot.after, spot.words[:-1])
    for index, (one, item) in enumerate(zip(new_ids, after, strict=True)):
        words = _item_words(name, after, index)
        if one in olds:
            at, old = olds.pop(one)
            yield from _compare_objects(old, item, parent.inside(at, index, words))
        else:
            yield "added", parent.inside(len(before), index, _called(name, words)), None, item
    for at, item in olds.values():
        words = _item_words(name, before, at)
        yield "removed", parent.inside(at, at, _called(name, words)), item, None
    kept = [one for one in old_ids if one in new_ids], [one for one in new_ids if one in old_ids]
    if kept[0] != kept[1]:
        yield "moved", spot, kept[0], kept[1]


def _identities(
    name: str, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """By what the items of two lists are known: entitlements by what they limit, others by one of
    their members, where that tells all of them apart; else by their place.
    """
    ways = [_limited] if name == "entitlements" else [partial(_member, one) for one in _IDENTITIES]
    for way in ways:
        both = [[way(item) for item in side] for side in (before, after)]
        if all(None not in side and len(set(side)) == len(side) for side in both):
            return [str(one) for one in both[0]], [str(one) for one in both[1]]
    return [str(index) for index in range(len(before))], [str(index) for index in range(len(after))]


def _member(name: str, item: Mapping[str, Any]) -> str | None:
    return _identity(item.get(name))


def _limited(entitlement: Mapping[str, Any]) -> str:
    """`sso`, `queries per day`, `search of tokens per month`, `sessions at once`, `calls placed per
    minute`.
    """
    feature, meter, rate = (entitlement.get(name) for name in ("feature", "meter", "rate"))
    if meter is not None:
        of = "" if meter == feature else f" of {meter}"
        return f"{feature}{of} per {entitlement.get('window')}"
    if isinstance(rate, Mapping):
        return f"{feature} placed per {rate.get('per')}"
    return f"{feature} at once" if entitlement.get("concurrency") is not None else str(feature)


def _identity(value: object) -> str | None:
    if isinstance(value, Mapping):
        pairs = sorted((str(name), scalar_text(member) or "") for name, member in value.items())
        return ", ".join(f"{name} {member}" for name, member in pairs)
    return scalar_text(value)


def _item_words(name: str, items: Sequence[Mapping[str, Any]], index: int) -> str:
    """How people call an item: the key of a price, `tier 1 up to 5000`, `rate model large`."""
    item = items[index]
    if name == "prices":
        return str(item.get("key"))
    if name == "tiers":
        below = items[index - 1].get("up_to") if index else None
        above = f" above {below}" if below is not None else ""
        reach = f" up to {item['up_to']}" if item.get("up_to") is not None else above
        return f"tier {index + 1}{reach}"
    if name == "entitlements":
        return f"entitlement {_limited(item)}"
    known = next((_identity(item[one]) for one in _IDENTITIES if item.get(one) is not None), None)
    return f"{name.removesuffix('s')} {known or index + 1}"


def _called(name: str, words: str) -> str:
    return f"price {words}" if name == "prices" else words


def _means_the_same(document: Mapping[str, Any], spot: _Spot, old: object, new: object) -> bool:
    """Whether this change alone leaves the plan as it is."""
    numbers = [read_number(value) for value in (old, new) if value is not None]
    if len(numbers) == 2 and (isinstance(numbers[0], str) or numbers[0] != numbers[1]):
        return False
    if len(spot.after) > 1 and isinstance(spot.after[-1], int):
        return False  # a whole item came or went
    shown, path = _alone(document, spot.before)
    changed = deepcopy(shown)
    target: Any = changed
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = new
    try:
        return parse_plan(shown) == parse_plan(changed)
    except Invalid:
        return False


def _alone(document: Mapping[str, Any], path: _Path) -> tuple[dict[str, Any], _Path]:
    """The document with only the price that `path` is in, and the path there."""
    prices: Sequence[Any] = document["prices"]
    if path[0] == "prices" and len(path) > 1:
        assert isinstance(path[1], int), "prices are a list"
        return {**document, "prices": [prices[path[1]]]}, ("prices", 0, *path[2:])
    return {**document, "prices": [prices[0]]}, path


def _change(
    kind: Kind, spot: _Spot, old: object, new: object,
    before: Mapping[str, Any], after: Mapping[str, Any],
) -> Change:  # fmt: skip
    removed = kind == "removed"
    path = spot.before if removed else spot.after
    prices: Any = (before if removed else after)["prices"]
    price = None
    if path[0] == "prices" and len(path) > 1:
        assert isinstance(path[1], int), "prices are a list"
        price = str(prices[path[1]]["key"])
    return Change(kind, _path_text(path), price, old, new, _summary(kind, spot.words, old, new))


def _path_text(path: _Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _summary(kind: Kind, words: tuple[str, ...], old: object, new: object) -> str:
    *places, name = words
    where = "".join(f"{place}: " for place in places)
    match kind:
        case "changed":
            return f"{where}{name} {_brief(old)} -> {_brief(new)}"
        case "added":
            return f"{where}{name} added: {_brief(new)}"
        case "removed":
            return f"{where}{name} removed: {_brief(old)}"
        case "moved":
            return f"{where}{name} in another order: {_brief(new)}"


def _brief(value: object) -> str:
    """A value in a few words."""
    if isinstance(value, Mapping):
        members = [
            f"{name} {_brief(member)}" for name, member in value.items()
            if member is not None and name not in _SAID
        ]  # fmt: skip
        more = ", ..." if len(members) > _BRIEF_MEMBERS_MAX else ""
        return ", ".join(members[:_BRIEF_MEMBERS_MAX]) + more
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping) for item in value):
            return "1 item" if len(value) == 1 else f"{len(value)} items"
        return ", ".join(_brief(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)

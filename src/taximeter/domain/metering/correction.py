"""What an event becomes when its content is corrected.

Owns the rule that a corrected event obeys what every event does, and keeps its identity: customer,
source, id, type, the digest of its first content, and when it was received.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from taximeter.domain.metering.event import Event, InvalidEvent, read_event
from taximeter.kernel.errors import FieldError


def amended(event: Event, change: Mapping[str, object], at: datetime) -> Event | FieldError:
    """The event with what `change`, made at the instant `at`, says of its `time` (RFC 3339), `path`
    and `data`, as decoded from JSON; or what is wrong with it.
    """
    assert change.keys() <= {"time", "path", "data"}, "nothing else can be amended"
    raw = {"id": event.id, "subject": event.customer, "type": event.type, **change}
    read = read_event(raw, at)
    if isinstance(read, InvalidEvent):
        return read.error
    return msgspec.structs.replace(
        event,
        time=read.time if "time" in change else event.time,
        path=read.path if "path" in change else event.path,
        data=read.data if "data" in change else event.data,
    )

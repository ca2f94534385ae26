"""Reading holds, and knowing whose a hold is."""

from collections import OrderedDict

from taximeter.domain.credit.hold import Hold
from taximeter.kernel.errors import NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.services.context import Context
from taximeter.storage import customers
from taximeter.storage import holds as storage

OWNERS_MAX = 100_000


class Owners:
    """Whose holds are, by their ids: never changes, so it is remembered of the newest."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()

    def note(self, hold_id: str, customer: str) -> None:
        """Remember whose a hold is."""
        self._known[hold_id] = customer
        if len(self._known) > OWNERS_MAX:
            self._known.popitem(last=False)

    async def find(self, context: Context, hold_id: str) -> str | None:
        """Whose the hold is; None: there is none with this id."""
        known = self._known.get(hold_id)
        if known is None:
            async with context.pool.connection() as connection:
                known = await storage.customer_of(connection, hold_id)
            if known is not None:
                self.note(hold_id, known)
        return known


async def get_hold(context: Context, hold_id: str, customer: str | None = None) -> Hold:
    """The hold with this id. Raises `NotFound`, also for another customer's where `customer` is
    given.
    """
    async with context.pool.connection() as connection:
        owner = await storage.customer_of(connection, hold_id)
        if owner is None or customer not in (None, owner):
            raise NotFound(kind="hold", key=hold_id)
        found = await storage.found(await storage.send_find(connection, [(owner, hold_id)]))
    return found[hold_id]


async def list_holds(
    context: Context, customer: str, *, state: str | None, limit: int, cursor: str | None
) -> Page[Hold]:
    """A customer's holds, newest first; `state` restricts to some. Raises `NotFound`."""
    before = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        if await customers.find(connection, customer) is None:
            raise NotFound(kind="customer", key=customer)
        rows = await storage.page(
            connection, customer, state=state, at=context.clock.now(),
            before=before[0] if before else None, limit=limit + 1,
        )  # fmt: skip
    return make_page(rows, limit, lambda hold: (hold.id,))

"""`taximeter keys`: API keys, made and revoked in the database itself, so that no key is needed."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from taximeter.cli.in_database import ACTOR, DATA_DEFAULT, in_database
from taximeter.cli.options import DataOption
from taximeter.cli.runtime import Runtime
from taximeter.cli.terminal import refuse, say, show_rows, warn

if TYPE_CHECKING:
    from taximeter.domain.entitlement.key_rate import KeyRate
    from taximeter.services.context import Context

keys = typer.Typer(
    no_args_is_help=True,
    help="API keys: create, list, throttle, revoke, in the database.",
)


@keys.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="What the key is for.", show_default=False)],
    scope: Annotated[
        list[str],
        typer.Option(
            help="admin, ingest, authorize, limits or read. Repeatable.", show_default=False
        ),
    ],
    customer: Annotated[
        str | None, typer.Option(help="Confine the key to this customer.", metavar="CUSTOMER")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 2027-01-01T00:00:00Z.", metavar="TIME")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="How fast it may ask: 100/minute.", metavar="RATE")
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(help="Confine the key to this path of the customer.", metavar="PATH"),
    ] = None,
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Make an API key and print its secret, this once.

    \b
    Examples:
      taximeter keys create --name gateway --scope ingest
      taximeter keys create --name dashboard --scope read --customer acme
      taximeter keys create --name agent --scope authorize --customer acme --path support/agent-7
    """
    expires_at, key_rate = _instant(expires), _rate(rate)
    runtime: Runtime = context.obj
    secret_bytes = runtime.random_bytes(32)

    scopes = tuple(dict.fromkeys(scope))

    async def work(services: "Context") -> tuple[str, str]:
        from taximeter.services.command import run
        from taximeter.services.keys import create_key

        key, secret = await run(
            services, ACTOR,
            lambda transaction: create_key(
                transaction, random_bytes=secret_bytes, name=name, scopes=scopes,
                expires_at=expires_at, customer=customer, rate=key_rate, path=path,
            ),
        )  # fmt: skip
        return key.id, secret

    key_id, secret = in_database(runtime, data, work)
    say(secret)
    warn(f"This is the secret of {key_id} ({', '.join(scopes)}). It is shown this once.")


@keys.command("list")
def list_(context: typer.Context, data: DataOption = DATA_DEFAULT) -> None:
    """List the API keys, oldest first; secrets are not kept.

    \b
    Example:
      taximeter keys list
    """
    from taximeter.kernel.paging import LIMIT_MAX
    from taximeter.kernel.times import format_instant

    def shown(at: datetime | None) -> str:
        return format_instant(at) if at is not None else ""

    rows: list[tuple[str, ...]] = []

    async def work(services: "Context") -> None:
        from taximeter.services.keys import list_keys

        cursor: str | None = None
        while True:
            page = await list_keys(services, limit=LIMIT_MAX, cursor=cursor)
            for key in page.rows:
                times = (shown(at) for at in (key.created_at, key.expires_at, key.revoked_at))
                rate = f"{key.rate.requests}/{key.rate.per}" if key.rate is not None else ""
                scopes = ",".join(key.scopes)
                whose = (key.customer or "", key.path or "")
                rows.append((key.id, key.name, scopes, *whose, *times, rate))
            cursor = page.next_cursor
            if cursor is None:
                return

    in_database(context.obj, data, work)
    titles = (
        "ID", "NAME", "SCOPES", "CUSTOMER", "PATH", "CREATED", "EXPIRES", "REVOKED", "RATE"
    )  # fmt: skip
    show_rows(titles, rows)


@keys.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `keys list`.")],
    data: DataOption = DATA_DEFAULT,
) -> None:
    """End an API key. It stops working within 5 seconds, for good.

    \b
    Example:
      taximeter keys revoke key_019a...
    """

    async def work(services: "Context") -> str:
        from taximeter.services.command import run
        from taximeter.services.keys import revoke_key

        key = await run(services, ACTOR, lambda transaction: revoke_key(transaction, key_id))
        return key.name

    name = in_database(context.obj, data, work)
    say(f"{key_id} ({name}) is revoked.")


@keys.command()
def throttle(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `keys list`.")],
    rate: Annotated[
        str | None,
        typer.Option(
            help="How fast it may ask: 100/minute. Left out: as fast as it likes.", metavar="RATE"
        ),
    ] = None,
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Say how fast an API key may ask, in requests a second, minute or hour. Binds within 5
    seconds; what comes faster is answered 429.

    \b
    Examples:
      taximeter keys throttle key_019a... --rate 100/minute
      taximeter keys throttle key_019a...
    """  # fmt: skip
    key_rate = _rate(rate)

    async def work(services: "Context") -> str:
        from taximeter.services.command import run
        from taximeter.services.keys import set_rate

        key = await run(
            services, ACTOR, lambda transaction: set_rate(transaction, key_id, key_rate)
        )
        return key.name

    name = in_database(context.obj, data, work)
    say(f"{key_id} ({name}) may ask {rate or 'as fast as it likes'}.")


def _rate(text: str | None) -> "KeyRate | None":
    from taximeter.domain.catalog.entitlement_document import RATE_PERS
    from taximeter.domain.entitlement.key_rate import REQUESTS_MAX, KeyRate

    if text is None:
        return None
    requests, _, named = text.partition("/")
    per = next((one for one in RATE_PERS if one == named), None)
    count = int(requests) if requests.isascii() and requests.isdigit() and len(requests) < 10 else 0
    if per is None or not 1 <= count <= REQUESTS_MAX:
        refuse(f"--rate {text} is no rate. Say one like 100/minute: per second, minute or hour.")
    return KeyRate(count, per)


def _instant(text: str | None) -> datetime | None:
    from taximeter.kernel.times import parse_instant

    if text is None:
        return None
    at = parse_instant(text)
    if at is None:
        refuse(f"--expires {text} is no time with an offset. Say one like 2027-01-01T00:00:00Z.")
    return at

"""`taximeter keys`: API keys, made and revoked in the database itself, so that no key is needed."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from taximeter.cli.in_database import ACTOR, DATA_DEFAULT, in_database
from taximeter.cli.options import DataOption
from taximeter.cli.runtime import Runtime
from taximeter.cli.terminal import refuse, say, show_rows, warn

if TYPE_CHECKING:
    from taximeter.services.context import Context

keys = typer.Typer(
    no_args_is_help=True,
    help="API keys: create, list, revoke, in the database.",
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
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Make an API key and print its secret, this once.

    \b
    Examples:
      taximeter keys create --name gateway --scope ingest
      taximeter keys create --name dashboard --scope read --customer acme
    """
    expires_at = _instant(expires)
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
                expires_at=expires_at, customer=customer,
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
                rows.append((key.id, key.name, ",".join(key.scopes), key.customer or "", *times))
            cursor = page.next_cursor
            if cursor is None:
                return

    in_database(context.obj, data, work)
    show_rows(("ID", "NAME", "SCOPES", "CUSTOMER", "CREATED", "EXPIRES", "REVOKED"), rows)


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


def _instant(text: str | None) -> datetime | None:
    from taximeter.kernel.times import parse_instant

    if text is None:
        return None
    at = parse_instant(text)
    if at is None:
        refuse(f"--expires {text} is no time with an offset. Say one like 2027-01-01T00:00:00Z.")
    return at

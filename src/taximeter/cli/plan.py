"""`taximeter plan`: pricing as code. The commands in one place; each group has its module."""

import typer

from taximeter.cli.plan_check import check
from taximeter.cli.plan_deploy import deploy, diff
from taximeter.cli.plan_gallery import gallery
from taximeter.cli.plan_migrate import migrate
from taximeter.cli.plan_preview import preview
from taximeter.cli.plan_published import export, list_, schema, show
from taximeter.cli.plan_versions import cancel, retire, rollback, unretire

plan = typer.Typer(
    no_args_is_help=True,
    help="Pricing as code: start from a gallery, check, diff, preview, deploy, migrate, export.",
)
plan.command()(gallery)
plan.command()(check)
plan.command()(diff)
plan.command()(preview)
plan.command()(deploy)
plan.command()(migrate)
plan.command()(export)
plan.command("list")(list_)
plan.command()(show)
plan.command()(rollback)
plan.command()(cancel)
plan.command()(retire)
plan.command()(unretire)
plan.command()(schema)

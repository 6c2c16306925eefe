"""The commands, by name. Importing this is all that `rustcare --help` needs, so it imports little."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import operate, system
from ._options import wants_json
from .author import commands as author

__all__ = ["app", "command_names"]


class Commands(TyperGroup):
    """A group that shows a `RustCareError` as what it is: text or JSON, and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            from rustcare_sdk.errors import RustCareError

            if not isinstance(error, RustCareError):
                raise
            from ._render import show_error

            show_error(error, as_json=wants_json(ctx))
            ctx.exit(1)


def _group(help_: str, **options: Any) -> typer.Typer:
    # No rich in help texts: it would triple the time they take.
    return typer.Typer(help=help_, no_args_is_help=True, add_completion=False, rich_markup_mode=None, **options)


app = _group(
    "RustCare Engine: a plugin microkernel for healthcare software.",
    cls=Commands,
    pretty_exceptions_enable=False,  # they show variables, which may hold patient data
    context_settings={"help_option_names": ["-h", "--help"]},
)
plugin = _group("Plugins: install and operate them, or write one.")
system_group = _group("The kernel that runs.")
fhir = _group("What the FHIR store holds.")


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"rustcare {version('rustcare-cli')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def demo(context: typer.Context) -> None:
    """The main job from end to end: an HL7 feed, a hot swap, a hostile plugin."""
    from rustcare_cli.demo.command import demo as run

    inner = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    inner.command(name="demo")(run)
    context.meta["rustcare.json"] = "--json" in context.args
    code = inner(context.args, prog_name="rustcare demo", standalone_mode=False)
    raise typer.Exit(code if isinstance(code, int) else 0)


app.command()(system.up)
app.add_typer(plugin, name="plugin")
app.add_typer(system_group, name="system")
app.add_typer(fhir, name="fhir")

system_group.command("status")(system.status)
system_group.command("stop")(system.stop)
fhir.command("export")(system.export)

for _name, _command in (
    ("list", operate.list_plugins),
    ("info", operate.info),
    ("install", operate.install),
    ("upgrade", operate.upgrade),
    ("rollback", operate.rollback),
    ("enable", operate.enable),
    ("disable", operate.disable),
    ("restart", operate.restart),
    ("remove", operate.remove),
    ("configure", operate.configure),
    ("caps", operate.caps),
    ("grant", operate.grant),
    ("revoke", operate.revoke),
    ("logs", operate.logs),
    ("new", author.new),
    ("dev", author.dev),
    ("test", author.run_tests),
    ("check", author.check),
    ("build", author.build),
):
    plugin.command(_name)(_command)


def command_names() -> list[str]:
    """Every command as it is typed, without the program's name: `plugin install`, `up`, …"""

    def walk(group: Any, prefix: str) -> Iterator[str]:
        for name, command in group.commands.items():
            if isinstance(command, TyperGroup):
                yield from walk(command, f"{prefix}{name} ")
            else:
                yield prefix + name

    return sorted(walk(typer.main.get_command(app), ""))

"""The commands, by name. Importing this is all that `rustcare --help` needs, so it imports little.

The commands of a group are made when the group is used: making all of them takes longer than showing the help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import system
from ._options import anywhere, wants_json
from .benchmark.command import benchmark
from .remote.login import login, logout, whoami

__all__ = ["app", "command_names"]


def _plugin_commands() -> Mapping[str, Callable[..., Any]]:
    from . import operate
    from .author import commands as author

    operating = {
        "list": operate.list_plugins,
        "info": operate.info,
        "install": operate.install,
        "upgrade": operate.upgrade,
        "rollback": operate.rollback,
        "enable": operate.enable,
        "disable": operate.disable,
        "restart": operate.restart,
        "remove": operate.remove,
        "configure": operate.configure,
        "caps": operate.caps,
        "grant": operate.grant,
        "revoke": operate.revoke,
        "logs": operate.logs,
    }
    return {
        **_anywhere(operating),
        "new": author.new,
        "dev": author.dev,
        "test": author.run_tests,
        "check": author.check,
        "build": author.build,
    }


def _anywhere(commands: Mapping[str, Any]) -> dict[str, Any]:
    """Commands that work against a remote server too; those of inner groups as well."""
    return {
        name: (found[0], _anywhere(found[1])) if isinstance(found, tuple) else anywhere(found)
        for name, found in commands.items()
    }


def _audit_commands() -> Mapping[str, Any]:
    from .trust import audit_commands

    return _anywhere(audit_commands())


def _crypto_commands() -> Mapping[str, Any]:
    from .trust import crypto_commands

    return _anywhere(crypto_commands())


def _user_commands() -> Mapping[str, Any]:
    from .identity import user_commands

    return _anywhere(user_commands())


def _tenant_commands() -> Mapping[str, Any]:
    from .identity import tenant_commands

    return _anywhere(tenant_commands())


def _key_commands() -> Mapping[str, Any]:
    from .identity import key_commands

    return _anywhere(key_commands())


#: A group's help, and its commands: functions by name, or a pair of help and commands for a group in it.
_GROUPS: dict[str, tuple[str, Callable[[], Mapping[str, Any]]]] = {
    "plugin": ("Install and operate plugins, or write one.", _plugin_commands),
    "system": ("The kernel that runs.", lambda: _anywhere({"status": system.status, "stop": system.stop})),
    "user": ("Accounts: who may come in.", _user_commands),
    "tenant": ("Tenants: who is kept apart from whom.", _tenant_commands),
    "key": ("API keys, for programs.", _key_commands),
    "fhir": ("What the FHIR store holds.", lambda: _anywhere({"export": system.export})),
    "audit": ("The audit log: read it, prove it, check it.", _audit_commands),
    "crypto": ("Keys, and what is done with them.", _crypto_commands),
}


class Commands(TyperGroup):
    """A group that makes its commands late, and shows a `RustCareError` as what it is: text or JSON, exit code 1."""

    def _make(self) -> None:
        if not self.commands and self.name in _GROUPS:
            made = _typer()
            _fill(made, _GROUPS[self.name][1]())
            self.commands = typer.main.get_group(made).commands

    def list_commands(self, ctx: Any) -> list[str]:
        self._make()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        self._make()
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of a pipe went away: no error, see `__main__`
        except Exception as error:
            from rustcare_sdk.errors import RustCareError

            from ._errors import CommandFailed

            if isinstance(error, OSError) and error.strerror:  # a full disk, a folder that may not be written to
                error = CommandFailed(f"The system refused: {error.strerror}", address=str(error.filename or ""))
            if not isinstance(error, RustCareError):
                raise
            from ._render import show_error

            try:
                show_error(error, as_json=wants_json(ctx))
            except OSError:
                show_error(error, as_json=False)  # standard output is what cannot be written to
            ctx.exit(1)


def _fill(group: typer.Typer, commands: Mapping[str, Any]) -> None:
    for name, found in commands.items():
        if isinstance(found, tuple):
            inner = _typer(found[0])
            _fill(inner, found[1])
            group.add_typer(inner, name=name)
        else:
            group.command(name)(found)


def _typer(help_: str = "", **options: Any) -> typer.Typer:
    # No rich in help texts: it would triple the time they take.
    options = {"add_completion": False, **options}
    return typer.Typer(cls=Commands, help=help_, no_args_is_help=True, rich_markup_mode=None, **options)


app = _typer(
    "RustCare Engine: a plugin microkernel for healthcare software.",
    add_completion=True,
    pretty_exceptions_enable=False,  # they show variables, which may hold patient data
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    """See the main job from end to end."""
    from rustcare_cli.demo.command import demo as run

    inner = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    inner.command(name="demo", help=run.__doc__)(run)
    context.meta["rustcare.json"] = "--json" in context.args
    code = inner(context.args, prog_name="rustcare demo", standalone_mode=False)
    raise typer.Exit(code if isinstance(code, int) else 0)


app.command()(system.up)
app.command()(benchmark)
for _command in (login, logout, whoami):
    app.command()(_command)
for _name, (_help, _) in _GROUPS.items():
    app.add_typer(_typer(_help), name=_name)


def command_names() -> list[str]:
    """Every command as it is typed, without the program's name: `plugin install`, `up`, …"""

    def walk(group: Any, prefix: str) -> Iterator[str]:
        context = typer.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, TyperGroup):
                yield from walk(command, f"{prefix}{name} ")
            else:
                yield prefix + name

    return sorted(walk(typer.main.get_command(app), ""))

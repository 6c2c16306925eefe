"""The trusted tier: a plugin's Python runs in the kernel's own process.

Modules are executed from the verified bytes of the package, never from a path, under names that carry the digest
(`acme_lab@1f2e3d4c-1`). So two versions live side by side during an upgrade, nothing is picked up from the disk, and
removing the plugin removes every module. This is not a sandbox: it is for code you would run anyway (see SECURITY.md).
"""

from __future__ import annotations

import builtins
import gc
import importlib
import importlib.abc
import importlib.machinery
import io
import itertools
import linecache
import sys
import traceback
import types
import typing
import zipfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import pluggy
from msgspec.structs import replace
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler, Health, Plugin, handlers_of, payload_type
from rustcare_sdk.routes import content_of, content_type

from rustcare_kernel.context import decode_as
from rustcare_kernel.errors import StartFailed

from ._contract import Code, Host
from ._defaults import completer
from ._resources import PackageResources

__all__ = ["PythonInstance", "PythonRuntime"]

_serial = itertools.count(1)


class _Modules(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """The modules of one loaded package: finder, loader and the `import` that its code sees."""

    def __init__(self, payload: bytes, digest: str) -> None:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            self._files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
        self._suffix = f"@{digest.removeprefix('sha256:')[:8]}-{next(_serial)}"
        self._tops = {name.split("/")[0].removesuffix(".py") for name in self._files if name.endswith(".py")}
        self._builtins = dict(vars(builtins))
        self._builtins["__import__"] = self._import
        sys.meta_path.insert(0, self)

    def load(self, name: str) -> types.ModuleType:
        """Import a module by the name its author knows."""
        return importlib.import_module(self._mangled(name))

    def files(self) -> Mapping[str, bytes]:
        return self._files

    def close(self) -> None:
        """Take every module of the package out of the process."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in [name for name in sys.modules if self._mine(name)]:
            vars(sys.modules.pop(name)).clear()
        # Whoever formatted a traceback left the way to the sources in this cache, and with it the whole package.
        for filename in [filename for filename in linecache.cache if filename.startswith(f"{self._suffix[1:]}/")]:
            del linecache.cache[filename]
        self._builtins.clear()

    def _mangled(self, name: str) -> str:
        top, dot, rest = name.partition(".")
        return f"{top}{self._suffix}{dot}{rest}"

    def _mine(self, name: str) -> bool:
        return name.partition(".")[0].endswith(self._suffix)

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        """`import acme_lab.tables` inside the package means this version of it, not whatever the process has."""
        if level == 0 and name.partition(".")[0] in self._tops:
            name = self._mangled(name)
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    # importlib's side

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not self._mine(fullname):
            return None
        found = self._source(fullname)
        if found is None:
            return None
        origin, _, package = found
        return importlib.machinery.ModuleSpec(fullname, self, origin=origin, is_package=package)

    def _source(self, fullname: str) -> tuple[str, bytes, bool] | None:
        path = fullname.replace(self._suffix, "", 1).replace(".", "/")
        for candidate, package in ((f"{path}/__init__.py", True), (f"{path}.py", False)):
            if candidate in self._files:
                return candidate, self._files[candidate], package
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        found = self._source(module.__name__)
        assert found is not None
        origin, source, _ = found
        vars(module)["__builtins__"] = self._builtins
        module.__file__ = f"{self._suffix[1:]}/{origin}"
        exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))

    def get_source(self, fullname: str) -> str | None:
        found = self._source(fullname)
        return None if found is None else found[1].decode()

    def is_package(self, fullname: str) -> bool:
        found = self._source(fullname)
        return found is not None and found[2]

    def get_data(self, path: str) -> bytes:
        """What `pkgutil.get_data(__package__, "tables.json")` reads: a file of the verified package."""
        name = path.replace("\\", "/").removeprefix(f"{self._suffix[1:]}/")
        try:
            return self._files[name]
        except KeyError:
            raise FileNotFoundError(f"the package has no file {name}") from None

    def get_resource_reader(self, fullname: str) -> PackageResources | None:
        """What `importlib.resources.files(__package__)` reads: the files of the verified package."""
        if not self.is_package(fullname):
            return None
        return PackageResources(self._files, fullname.replace(self._suffix, "", 1).replace(".", "/"))


class PythonRuntime:
    """Loads trusted packages and registers them with pluggy."""

    name: ClassVar[str] = "python"

    def __init__(self, hooks: pluggy.PluginManager) -> None:
        self._hooks = hooks

    async def load(self, code: Code, host: Host) -> PythonInstance:
        """Import the package's entry and make one plugin of it.

        Raises:
            StartFailed: the entry is missing, is not a `Plugin`, or fails while it is imported.
        """
        modules = _Modules(code.payload, code.digest)
        plugin_id = code.manifest.plugin.id
        module_name, _, class_name = code.entry.partition(":")
        try:
            cls = getattr(modules.load(module_name), class_name)
            if not (isinstance(cls, type) and issubclass(cls, Plugin)):
                raise StartFailed(
                    f"{plugin_id}: entry {code.entry!r} should be a class derived from rustcare_sdk.Plugin, "
                    f"it is {type(cls).__name__}",
                    address="plugin.toml:runtime.python.entry",
                )
            return PythonInstance(cls(), modules, host, self._hooks, f"{plugin_id}{modules._suffix}")
        except StartFailed:
            modules.close()
            raise
        except (Exception, SystemExit) as error:  # a script that calls sys.exit() must not end the kernel
            where = _innermost(error, modules._suffix)
            name = type(error).__name__
            # The text of such an error names what is missing in the code, never data; that of others might.
            text = f": {error}" if isinstance(error, ImportError | AttributeError | NameError | SyntaxError) else ""
            modules.close()
            raise StartFailed(
                f"{plugin_id}: importing {code.entry!r} failed with {name}{text}",
                hint="run `rustcare plugin check` in the plugin's folder",
                address=where or "plugin.toml:runtime.python.entry",
            ) from None

    async def close(self) -> None:
        pass


class PythonInstance:
    """One running trusted plugin."""

    def __init__(self, plugin: Plugin, modules: _Modules, host: Host, hooks: pluggy.PluginManager, name: str) -> None:
        self._plugin: Plugin | None = plugin
        self._modules = modules
        self._hooks = hooks
        self._name = name
        self._bound: dict[tuple[str, str], Callable[[Message[Any]], Coroutine[Any, Any, Any]]] = {}
        self._handlers = handlers_of(type(plugin))
        # Read here, so that an annotation that cannot be resolved stops the start and not the first message.
        self._types = {handler.method: payload_type(type(plugin), handler.method) for handler in self._handlers}
        plugin.ctx = host.ctx
        try:
            hooks.register(plugin, name=name)
        except Exception:
            hooks.unregister(name=name)  # one bad hook is found only after the others are in
            raise

    @property
    def plugin(self) -> Plugin:
        assert self._plugin is not None, "the instance is closed"
        return self._plugin

    @property
    def handlers(self) -> tuple[Handler, ...]:
        return self._handlers

    async def start(self) -> None:
        await self.plugin.start()

    async def stop(self) -> None:
        await self.plugin.stop()

    async def health(self) -> Health:
        return await self.plugin.health()

    def bind(self, handler: Handler) -> Callable[[Message[Any]], Coroutine[Any, Any, Any]]:
        """The function the bus calls: the method itself where data needs no conversion, so nothing stands between."""
        method: Callable[[Message[Any]], Coroutine[Any, Any, Any]] = getattr(self.plugin, handler.method)
        wanted = self._types[handler.method]
        if handler.route is not None:
            return _answering(method, content_type(wanted), handler.route.status, f"data of {handler.subject}")
        address = f"data of {handler.subject}"

        def convert(message: Message[Any]) -> Coroutine[Any, Any, Any]:
            data = message.data
            if type(data) is wanted:
                return method(message)
            return method(replace(message, data=decode_as(data, wanted, address)))

        def decode(message: Message[Any]) -> Coroutine[Any, Any, Any]:
            if type(message.data) is msgspec.Raw:
                return method(replace(message, data=decode_as(message.data, None, address)))
            return method(message)

        return decode if wanted is None else convert

    def invoke(self, handler: Handler, message: Message[Any]) -> Coroutine[Any, Any, Any]:
        key = (handler.method, handler.subject)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = self.bind(handler)
        return bound(message)

    async def export_state(self) -> Any:
        return await self.plugin.export_state()

    async def import_state(self, version: int, state: Any) -> None:
        if type(state) is msgspec.Raw:
            state = decode_as(state, None, "state")
        if version != type(self.plugin).state_version:
            state = await self.plugin.migrate(version, state)
        await self.plugin.import_state(state)

    async def close(self) -> None:
        if self._plugin is None:
            return
        self._hooks.unregister(name=self._name)
        self._plugin = None
        self._bound.clear()
        self._types.clear()
        self._handlers = ()
        self._modules.close()
        for clear in getattr(typing, "_cleanups", ()):
            clear()  # typing caches `Message[T]`, and with T the whole module
        gc.collect()


def _answering(
    method: Callable[[Message[Any]], Coroutine[Any, Any, Any]], wanted: Any, status: int, address: str
) -> Callable[[Message[Any]], Coroutine[Any, Any, Any]]:
    """A route's handler: the body becomes the type that it asks for, and what it returns an `HttpResponse`."""
    complete = completer(wanted) if wanted is not None else None

    async def answer(message: Message[Any]) -> HttpResponse:
        request = message.data
        if type(request) is not HttpRequest:
            request = decode_as(request, HttpRequest, address)
            message = replace(message, data=request)
        if wanted is not None:
            request.content = content_of(request, wanted, _from_json, _from_form)
            if complete is not None:
                complete(request.content)
        found = await method(message)
        if type(found) is HttpResponse:
            return found
        return HttpResponse(204 if found is None else status, found)

    return answer


def _from_json(body: bytes, wanted: Any) -> Any:
    return decode_as(msgspec.Raw(body), wanted, "body")


def _from_form(data: dict[str, str], wanted: Any) -> Any:
    try:
        return msgspec.convert(data, wanted, strict=False)  # a form says everything as text
    except msgspec.ValidationError:
        return decode_as(data, wanted, "body")  # which says what does not fit, without the value


def _innermost(error: BaseException, mark: str) -> str:
    """`file:line` of the innermost frame that is the package's own."""
    where = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith(mark[1:]):
            where = f"{frame.filename.partition('/')[2]}:{frame.lineno}"
    if not where and isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename.partition('/')[2]}:{error.lineno}"
    return where

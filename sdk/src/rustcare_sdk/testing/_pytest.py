"""The pytest plugin that comes with the SDK (entry point `pytest11`). It must stay cheap to import."""

__all__: list[str] = []

"""For authors' tests: a double of the kernel in memory, and a pytest plugin that comes with the SDK."""

__all__: list[str] = []

"""The registry and marketplace. Not built yet: this distribution only holds its place in the plan."""

__all__: list[str] = []

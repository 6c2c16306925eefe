"""Keys of subjects such as patients. Destroying one makes everything sealed under it unreadable, wherever it lies.

`key` is one in memory → `store` holds the SQL → `subjects` finds, makes and destroys them.
"""

from .subjects import Subjects

__all__ = ["Subjects"]

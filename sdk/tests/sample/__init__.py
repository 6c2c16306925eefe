"""A plugin as an author writes one, for the tests of the harness."""

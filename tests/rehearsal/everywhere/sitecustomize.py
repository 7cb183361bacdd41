"""On PYTHONPATH: every process of a command believes in the pretended device, those that it starts included."""

import tests.rehearsal.pretending  # noqa: F401

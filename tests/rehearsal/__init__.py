"""Every CUDA path, rehearsed on a pretended device: ``make rehearse``, or ``python -m tests.rehearsal``.

No file here is a test of the usual suite: the pretended device must be in a process before torch is.
"""

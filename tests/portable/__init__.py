"""The proof that a portable run has the same bits on any x86-64 processor, repeated natively and under emulation."""

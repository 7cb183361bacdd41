"""Groups of commands of ``mtbench``, one file each."""

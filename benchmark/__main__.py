"""``python -m benchmark`` is ``mtbench``."""

from benchmark.cli import main

if __name__ == "__main__":
    main()

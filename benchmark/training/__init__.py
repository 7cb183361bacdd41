"""One run: epochs, steps, evaluation."""

"""Networks as lists of stages; the sharing patterns are built over them."""

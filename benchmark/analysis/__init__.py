"""From records to data frames: selection of epochs, Δm, intervals, non-dominated sets."""

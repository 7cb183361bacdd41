"""What a run is, and what is kept of it: specs, grids, records, stores of them, their index, data cards."""

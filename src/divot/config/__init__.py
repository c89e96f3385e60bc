"""What a run is: typed settings, presets, strict merging; the errors and file habits everybody shares. No torch."""

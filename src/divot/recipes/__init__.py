"""Settings of each training stage, as YAML laid over the defaults of `divot.config.training`."""

"""The YAML file: structs (`model`), reading (`load`), meaning (`check`), schema and dump."""

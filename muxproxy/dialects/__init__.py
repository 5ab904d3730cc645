"""The wire formats: paths, errors and pairs. Plain functions over bytes and structs, no I/O."""

"""The subcommands of `minigrad`, a module each.

Each has `add_parser(subparsers)`, which describes its arguments and sets itself as what runs, and
`run(options) -> int`, the status. What is slow to import is imported by `run`.
"""

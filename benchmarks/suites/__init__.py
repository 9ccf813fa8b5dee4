"""The suites. Each module has `cases(peers, quick)`, which yields the cases one by one."""

NAMES = ("overhead", "training")

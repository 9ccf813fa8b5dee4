"""Twelve bugs in the rules of a small network, for examples/find_the_bug.py."""

from . import operations as operations
from .cases import BUGS as BUGS, Bug as Bug
from .network import NAMES as NAMES, arguments as arguments, network as network, planted as planted

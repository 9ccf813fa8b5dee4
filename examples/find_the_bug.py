"""A network with a bug in one of its gradients. Find it with the checker.

Eleven of the twelve rules are right; the wrong one is a mistake that people make. The network runs,
and learns something. Ask the checker about the operations, read what it says of the wrong one, and
think before you look.

    python examples/find_the_bug.py                      # some bug; on a terminal you are asked
    python examples/find_the_bug.py --bug 7              # this one
    python examples/find_the_bug.py --bug 7 --check tanh # the verdict on one operation
    python examples/find_the_bug.py --bug 7 --hint
    python examples/find_the_bug.py --bug 7 --reveal     # the wrong rule beside the right one
    python examples/find_the_bug.py --list               # what one notices of each
"""

import argparse
import inspect
import random
import sys

import numpy as np
from bugs import BUGS, NAMES, arguments, network, operations, planted

from minigrad.testing import gradcheck


def verdict_on_network(ops):
    """The gradients of the loss; if they are right, the gradients' gradients too."""
    loss, parameters = network(ops, np.random.default_rng(0))
    first = gradcheck(loss, parameters)
    return gradcheck(loss, parameters, order=2) if first.ok else first


def verdict_on(name, ops):
    """One operation alone, to second order."""
    return gradcheck(ops[name], arguments(name, np.random.default_rng(1)), order=2)


def story(number):
    print(f"Bug {number}. {BUGS[number - 1].symptom}\n")
    print("The checker on the whole network:\n")
    for finding in verdict_on_network(planted(BUGS[number - 1].operation)).findings:
        print(f"  order {finding.order}, {finding.label} {finding.shape}: {finding.status}")
    print("\nThe inputs are, in order: the background, the convolution's kernel, the cameras, the")
    print(
        "gate, the classes' weights and bias. A wrong rule spoils the gradients of everything that"
    )
    print("comes before it. The operations, in order:\n")
    print("  " + ", ".join(NAMES[:6]) + ",\n  " + ", ".join(NAMES[6:]) + "\n")


def check(number, name):
    print(verdict_on(name, planted(BUGS[number - 1].operation)))


def reveal(number):
    bug = BUGS[number - 1]
    print(f"It is {bug.operation}. {bug.why}\n")
    for kind in ("bug", "rule"):
        print("wrong:\n" if kind == "bug" else "right:\n")
        print(inspect.getsource(getattr(operations, f"{bug.operation}_{kind}")))
    print("With its bug:\n")
    check(number, bug.operation)


def ask(number):
    """Answer a reader at a terminal until the bug is found."""
    while True:
        answer = answered("Which operation shall be checked? (or: hint, reveal, quit) ")
        if answer == "quit":
            return
        if answer == "hint":
            print(BUGS[number - 1].hint)
        elif answer == "reveal":
            return reveal(number)
        elif answer not in NAMES:
            print(f"there is no operation {answer!r}")
        else:
            check(number, answer)
            if answer == BUGS[number - 1].operation:
                answered("\nFound. What is wrong with the rule? Think, then press Enter. ")
                return reveal(number)


def answered(question):
    """What was typed; the end of the input means quit."""
    try:
        return input(question).strip()
    except EOFError:
        print()
        return "quit"


def next_steps(number):
    again = f"python examples/find_the_bug.py --bug {number}"
    print("Next:\n")
    print(f"  {again} --check softmax   # or another operation, until one is wrong")
    print(f"  {again} --hint")
    print(f"  {again} --reveal")


def parser():
    p = argparse.ArgumentParser(description="Find the bug in a gradient.")
    p.add_argument("--bug", type=int, choices=range(1, len(BUGS) + 1), metavar="N",
                   help=f"which of the {len(BUGS)} bugs to plant; without it, any")  # fmt: skip
    p.add_argument("--check", choices=NAMES, metavar="OPERATION", help=", ".join(NAMES))
    p.add_argument("--hint", action="store_true", help="a question that leads to it")
    p.add_argument("--reveal", action="store_true", help="where it is, and the right rule")
    p.add_argument("--list", action="store_true", help="what one notices of each bug")
    return p


def main(argv=None):
    options = parser().parse_args(argv)
    if options.bug is None and (options.check or options.hint or options.reveal):
        parser().error("--check, --hint and --reveal want to know of which bug: add --bug N")
    if options.list:
        for number, bug in enumerate(BUGS, 1):
            print(f"{number:2}. {bug.symptom}")
        return
    number = options.bug or random.randint(1, len(BUGS))
    if options.check:
        check(number, options.check)
    elif options.hint:
        print(BUGS[number - 1].hint)
    elif options.reveal:
        reveal(number)
    else:
        story(number)
        ask(number) if argv is None and sys.stdin.isatty() else next_steps(number)


if __name__ == "__main__":
    main()

"""Backpropagation by hand: a two-layer network, every gradient derived, and compared.

The network classifies points in the plane into three classes:

    z = x @ w1 + b1          (N, H)    first layer
    h = tanh(z)              (N, H)    its activation
    s = h @ w2 + b2          (N, C)    second layer: one score for each class
    p = softmax(s)           (N, C)    probabilities
    loss = mean over n of -log p[n, y[n]]

Backward goes through these lines from the last to the first. For each line we ask one question:
given how the loss changes with the line's result, how does it change with the line's inputs? We
write d_a for the derivative of the loss by a; it always has the shape of a.

    python examples/backprop_by_hand.py
"""

import numpy as np

import minigrad as mg
from minigrad.nn import functional as F


def forward_and_backward_by_hand(x, y, w1, b1, w2, b2):
    """The loss, and its derivatives by the four parameters, in NumPy alone."""
    n = len(x)

    # Forward. Whatever backward will need is kept in a variable.
    z = x @ w1 + b1
    h = np.tanh(z)
    s = h @ w2 + b2
    e = np.exp(s - s.max(axis=1, keepdims=True))  # shifted: exp never overflows, p is the same
    p = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(n), y]).mean()

    # loss = mean of -log p[n, y[n]], and log p[n, k] = s[n, k] - log(sum over j of exp s[n, j]).
    # Differentiate by s[n, k]: the first part gives 1 where k = y[n]; the second part gives
    # exp(s[n, k]) / sum = p[n, k]. So each row of d_s is (p - one_hot(y)) / N.
    d_s = p.copy()
    d_s[np.arange(n), y] -= 1
    d_s /= n

    # s = h @ w2 + b2, that is s[n, k] = sum over i of h[n, i] w2[i, k] + b2[k].
    # w2[i, k] reaches s[n, k] in every row n, each time multiplied by h[n, i]: sum over n.
    d_w2 = h.T @ d_s
    # b2[k] was broadcast over the rows, so it receives the sum over the rows.
    d_b2 = d_s.sum(axis=0)
    # h[n, i] reaches s[n, k] for every class k, each time multiplied by w2[i, k]: sum over k.
    d_h = d_s @ w2.T

    # h = tanh(z), elementwise, and tanh' = 1 - tanh². Backward needs only the output h.
    d_z = d_h * (1 - h**2)

    # z = x @ w1 + b1: the same two rules as in the second layer. Nobody asks for d_x.
    d_w1 = x.T @ d_z
    d_b1 = d_z.sum(axis=0)
    return loss, (d_w1, d_b1, d_w2, d_b2)


def forward_and_backward_by_engine(x, y, *parameters):
    """The same from the engine: only the forward lines are written."""
    w1, b1, w2, b2 = (mg.tensor(p, requires_grad=True) for p in parameters)
    scores = mg.tanh(mg.tensor(x) @ w1 + b1) @ w2 + b2
    loss = F.cross_entropy(scores, mg.tensor(y))
    loss.backward()
    return loss.item(), tuple(p.grad.numpy() for p in (w1, b1, w2, b2))


def spirals(n, classes, rng):
    """Points on `classes` intertwined spiral arms, `n` on each, and the arm of each."""
    arm = np.repeat(np.arange(classes), n)
    radius = np.tile(np.linspace(0.1, 1, n), classes)
    angle = 4 * radius + 2 * np.pi * arm / classes + rng.normal(size=len(arm)) * 0.1
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), arm


def main(arguments=None):
    rng = np.random.default_rng(0)
    x, y = spirals(100, 3, rng)
    hidden = 32
    parameters = [
        rng.normal(size=(2, hidden)),
        np.zeros(hidden),
        rng.normal(size=(hidden, 3)) / np.sqrt(hidden),
        np.zeros(3),
    ]

    loss, by_hand = forward_and_backward_by_hand(x, y, *parameters)
    engine_loss, by_engine = forward_and_backward_by_engine(x, y, *parameters)
    print(f"loss by hand {loss:.12f}, by the engine {engine_loss:.12f}")
    for name, a, b in zip(["w1", "b1", "w2", "b2"], by_hand, by_engine, strict=True):
        print(f"  d_{name}: shape {a.shape!s:9} largest difference {np.abs(a - b).max():.1e}")
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(loss, engine_loss, rtol=1e-12)

    # Gradients that are right make the loss fall: plain gradient descent, by hand.
    for _ in range(2000):
        loss, gradients = forward_and_backward_by_hand(x, y, *parameters)
        parameters = [p - 0.5 * g for p, g in zip(parameters, gradients, strict=True)]
    w1, b1, w2, b2 = parameters
    right = ((np.tanh(x @ w1 + b1) @ w2 + b2).argmax(axis=1) == y).mean()
    print(f"after 2000 steps by hand: loss {loss:.4f}, {right:.1%} of the points are right")
    assert right > 0.9


if __name__ == "__main__":
    main()

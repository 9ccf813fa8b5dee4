"""House prices by gradient descent, compared with the exact answer of linear algebra.

The data are the 20,640 districts of the California census of 1990 (Pace and Barry, "Sparse spatial
autoregressions", 1997): eight numbers about a district, and the median price of its houses. The
model says that the price is a weighted sum of the eight numbers plus a constant:

    prediction = x @ w + b

Gradient descent finds the w and b with the least squared error step by step, knowing only the
slope of the error. For this model the best w and b are also known exactly, from the normal
equations, so we can see that the descent arrives where it should.

    python examples/linear_regression.py                    # downloads the data, once
    python examples/linear_regression.py --data generated   # invents districts, needs no network
"""

import argparse
import os
from pathlib import Path

import numpy as np

import minigrad as mg


def load_houses(source):
    """Features (N, 8) and prices (N,), in dollars, of the districts."""
    if source == "generated":
        rng = np.random.default_rng(0)
        features = rng.normal(size=(2000, 8)) * [2, 12, 2, 1, 1000, 10, 2, 2] + 20
        law = np.array([40e3, 1e3, -9e3, 30e3, -4.0, -200.0, -42e3, -43e3])
        return features, features @ law + 2e6 + rng.normal(size=2000) * 50e3
    local = Path(os.environ.get("MINIGRAD_DATA", "")) / "california-housing" / "cal_housing.data"
    if os.environ.get("MINIGRAD_DATA") and local.exists():
        table = np.loadtxt(local, delimiter=",")
        # longitude, latitude, age, rooms, bedrooms, population, households, income, price
        longitude, latitude, age, rooms, bedrooms, people, households, income, price = table.T
        features = [income, age, rooms / households, bedrooms / households]
        features += [people, people / households, latitude, longitude]
        return np.stack(features, axis=1), price
    from sklearn.datasets import fetch_california_housing

    try:
        houses = fetch_california_housing()
    except OSError as error:  # no network, no such host, ...
        raise SystemExit(
            f"the data could not be downloaded ({error}); try --data generated, or set "
            "MINIGRAD_DATA to a folder that holds california-housing/cal_housing.data"
        ) from None
    return houses.data, houses.target * 1e5


def mean_squared_error(x, y, w, b):
    """The average over districts of (prediction - price)², one number."""
    error = x @ w + b - y  # (N,)
    return (error * error).mean()


def gradient_descent(x, y, steps, learning_rate=0.1, momentum=0.9):
    """Walk downhill from w = 0, b = 0; also returns the error along the way."""
    w = mg.zeros(x.shape[1], dtype=x.dtype, requires_grad=True)
    b = mg.zeros((), dtype=x.dtype, requires_grad=True)
    optimizer = mg.optim.SGD([w, b], lr=learning_rate, momentum=momentum)
    errors = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = mean_squared_error(x, y, w, b)  # forward: how wrong are we?
        loss.backward()  # backward: which way is uphill?
        optimizer.step()  # update: a step downhill
        errors.append(loss.item())
    return w.detach(), b.detach(), errors


def normal_equations(x, y):
    """The exact minimum: where the gradient 2/N · Aᵀ(A v - y) vanishes, with A = [x, 1]."""
    a = np.column_stack([x, np.ones(len(x))])
    v = np.linalg.solve(a.T @ a, a.T @ y)
    return v[:-1], v[-1]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["houses", "generated"], default="houses")
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args(arguments)

    features, prices = load_houses(options.data)
    # Numbers of one size make one step size right for all weights: subtract means, divide by
    # standard deviations. Prices are counted in units of 100,000 dollars.
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    y = prices / 1e5

    w, b, errors = gradient_descent(mg.from_numpy(x), mg.from_numpy(y), options.steps)
    exact_w, exact_b = normal_equations(x, y)
    exact_error = mean_squared_error(x, y, exact_w, exact_b)

    print(f"{len(y)} districts, {options.steps} steps")
    for step in (0, 10, 100, options.steps - 1):
        print(f"  step {step:5d}   mean squared error {errors[step]:.6f}")
    print(f"  exact minimum            {exact_error:.6f}")
    print("weights by descent ", np.round(w.numpy(), 4))
    print("weights, exact     ", np.round(exact_w, 4))

    assert errors[-1] < errors[0] / 2, "the error should have fallen"
    np.testing.assert_allclose(errors[-1], exact_error, rtol=1e-4)
    np.testing.assert_allclose(w.numpy(), exact_w, atol=0.02)
    np.testing.assert_allclose(b.item(), exact_b, atol=1e-3)


if __name__ == "__main__":
    main()

"""A convolutional network learns to recognise images.

Two convolutions look for patterns of 3×3 pixels, first simple ones (64 kinds), then patterns of
those (128 kinds). After each, max-pooling keeps the strongest answer in every square of 2×2, so
that a pattern counts wherever in the square it stands. Two linear layers then weigh what was found.

    python examples/cnn_images.py                          # 8×8 digits, no download, seconds
    python examples/cnn_images.py --data fashion-mnist     # 28×28 clothes, minutes
    python examples/cnn_images.py --data mnist --epochs 1
"""

import argparse

import minigrad as mg
from minigrad import data, nn
from minigrad.training import Trainer

EXPECTED = {"digits": 0.97, "mnist": 0.98, "fashion-mnist": 0.90}


def network(channels, height, width, classes=10):
    """The network for images of this size; the comments give shapes for 3×32×32."""
    flattened = 128 * (height // 4) * (width // 4)
    return nn.Sequential(  # (N, 3, 32, 32)
        nn.Conv2d(channels, 64, kernel_size=3, padding=1),  # (N, 64, 32, 32)
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, 64, 16, 16)
        nn.Conv2d(64, 128, kernel_size=3, padding=1),  # (N, 128, 16, 16)
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, 128, 8, 8)
        nn.Flatten(),  # (N, 8192)
        nn.Linear(flattened, 1024),
        nn.ReLU(),
        nn.Linear(1024, classes),  # (N, 10): a score for each class
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(EXPECTED), default="digits")
    parser.add_argument("--epochs", type=int, default=None, help="3, for digits 10")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3, help="Adam's step size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    epochs = options.epochs or (10 if options.data == "digits" else 3)

    mg.manual_seed(options.seed)
    images = data.load(options.data)
    model = network(*images.train_images.shape[1:])
    print(images)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")

    trainer = Trainer(
        model,
        mg.optim.Adam(model.parameters(), lr=options.lr),
        loss=nn.CrossEntropyLoss(),
    )
    history = trainer.fit(
        data.DataLoader(images.train, options.batch_size, shuffle=True, seed=options.seed),
        epochs=epochs,
        validation=data.DataLoader(images.test, 500),
        progress=not options.quiet,
    )
    accuracy = history.column("accuracy", validation=True)
    for epoch, value in enumerate(accuracy, start=1):
        print(f"epoch {epoch}: {value:.2%} of the test images right")

    reached, expected = max(accuracy), EXPECTED[options.data]
    assert reached >= expected, f"{reached:.2%}, expected at least {expected:.0%}"


if __name__ == "__main__":
    main()

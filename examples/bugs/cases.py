"""The twelve bugs: what one notices, what to think about, and what it was."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """A bug that can be planted.

    Attributes:
        operation: whose rule is wrong.
        symptom: what somebody who trains the network notices.
        hint: a question that leads to it.
        why: what the rule forgets.
    """

    operation: str
    symptom: str
    hint: str
    why: str


BUGS = (
    Bug(
        "layer_norm",
        "Training converges, but to a worse loss than the colleague's version.",
        "Which numbers does a normalisation compute from its input? Each is a path back.",
        "The deviation depends on every entry of the row. With the variance held constant the "
        "term z * mean(g * z) is missing.",
    ),
    Bug(
        "embedding",
        "Rare words are learnt well, frequent ones hardly at all.",
        "What if a value is used more than once? Gradients along several paths add up.",
        "`d[rows] = g` writes; a row that was looked up three times keeps the last of its three "
        "gradients. They must be added.",
    ),
    Bug(
        "conv2d",
        "Edges are found, but it takes far longer than it should. Symmetric kernels work.",
        "Look at the indices: is the kernel run through forwards or backwards?",
        "It was taken for a convolution of mathematics, whose kernel is flipped. That of networks "
        "is a cross-correlation, and its weights' gradient is a cross-correlation too.",
    ),
    Bug(
        "cross_entropy",
        "The learning rate that worked with batches of 32 explodes with batches of 512.",
        "Is the loss a sum or a mean?",
        "The mean over the batch divides by its size, and so must the gradient.",
    ),
    Bug(
        "tanh",
        "Training works. A gradient penalty, which differentiates the gradient, does nothing.",
        "Every first derivative is right. What does a rule keep, and does the engine know it?",
        "`detach` cuts the output off from the graph: the rule is right as a number, but "
        "differentiated again it takes the output for a constant.",
    ),
    Bug(
        "pad",
        "Images of a white frame are recognised as well as the right ones.",
        "Count: where in the padded image does the first pixel lie?",
        "The slice begins at 0 in place of the padding: every pixel gets the gradient of its "
        "neighbour above and to the left.",
    ),
    Bug(
        "softmax",
        "Attention becomes sharp much too soon, and then nothing moves.",
        "If one probability grows, what happens to the others?",
        "Probabilities sum to one: each depends on every score. y * (1 - y) is the diagonal of "
        "the Jacobian alone; the coupling -y[i] * y[j] is missing.",
    ),
    Bug(
        "dropout",
        "With more dropout the layers in front of it learn more slowly.",
        "What is done to the numbers that are kept?",
        "What is kept is divided by the share that is kept, so that the mean stays. The "
        "derivative of x / 0.75 is 1 / 0.75.",
    ),
    Bug(
        "linear",
        "One layer learns nonsense. Where a layer like it changes the width it does not even run.",
        "Square matrices forgive a mistake that shapes reveal elsewhere.",
        "d weight = xᵀ g. The code says gᵀ x, which is its transpose: the layout of a library "
        "that keeps its weights the other way round.",
    ),
    Bug(
        "max_pool",
        "Training works a little, and the filters look smeared sideways.",
        "The gradient of a window belongs to the largest entry of that window.",
        "Windows are shifted by one: the gradient lands in the next window of the row.",
    ),
    Bug(
        "add_bias",
        "Biases learn more slowly than weights, and the more so the larger the batch.",
        "The bias was used once in every row. What happens along paths that meet?",
        "What is repeated on the way forward is summed on the way back; here it is averaged.",
    ),
    Bug(
        "batch_norm",
        "The colleague's network, which is the same, is better with large batches and small.",
        "Which numbers does a normalisation compute from its input? Each is a path back.",
        "The mean of a channel depends on every entry of it. With the mean held constant the "
        "term mean(g) is missing.",
    ),
)

"""Twelve operations of a small network, each with its rule and a mistake that people make in it.

An operation is made by a function that takes its rule: `softmax(softmax_rule)` is the right one,
`softmax(softmax_bug)` the wrong one. A rule gets `g`, the gradient of the loss with respect to the
operation's result, and what was kept for it; it returns the gradient with respect to the input.
Rules are written with operations of minigrad, so that they can be differentiated again.
"""

import numpy as np

import minigrad as mg
from minigrad.nn import functional as F

PADDING, POOL, KEEP = 1, 2, 0.75


# Padding: a frame of zeros around images (N, C, H, W)


def pad(rule):
    def pad(x):
        x = mg.as_tensor(x)
        frame = (PADDING, PADDING)
        return mg.record(pad, np.pad(x.data, ((0, 0), (0, 0), frame, frame)), (x, rule, None))

    return pad


def pad_rule(g):
    return g[:, :, PADDING:-PADDING, PADDING:-PADDING]


def pad_bug(g):
    return g[:, :, : -2 * PADDING, : -2 * PADDING]


# Convolution: y[n,o,h,w] = sum over c, i, j of x[n,c,h+i,w+j] weight[o,c,i,j]


def conv2d(rule):
    def conv2d(x, weight):
        x, weight = mg.as_tensor(x), mg.as_tensor(weight)
        windows = np.lib.stride_tricks.sliding_window_view(x.data, weight.shape[2:], (2, 3))
        y = np.einsum("nchwij,ocij->nohw", windows, weight.data)
        return mg.record(conv2d, y, (x, conv2d_input_rule, weight), (weight, rule, x))

    return conv2d


def conv2d_input_rule(g, weight):
    """Every entry of the kernel carries the gradient back to the pixels it was multiplied by."""
    k, l = weight.shape[2:]
    parts = []
    for i in range(k):
        for j in range(l):
            part = mg.einsum("nohw,oc->nchw", g, weight[:, :, i, j])
            parts.append(F.pad(part, (j, l - 1 - j, i, k - 1 - i)))
    return mg.sum(mg.stack(parts), 0)


def conv2d_rule(g, x):
    (h, w), (height, width) = g.shape[2:], x.shape[2:]
    rows = [
        [mg.einsum("nohw,nchw->oc", g, x[:, :, i : i + h, j : j + w]) for j in range(width - w + 1)]
        for i in range(height - h + 1)
    ]
    return mg.stack([mg.stack(row, 2) for row in rows], 2)


def conv2d_bug(g, x):
    (h, w), (height, width) = g.shape[2:], x.shape[2:]
    rows = [
        [mg.einsum("nohw,nchw->oc", g, x[:, :, i : i + h, j : j + w]) for j in range(width - w + 1)]
        for i in range(height - h + 1)
    ]
    return mg.flip(mg.stack([mg.stack(row, 2) for row in rows], 2), 2, 3)


# Batch norm and layer norm: z = (x - mean) / deviation, over a channel or over a row


def standardized(x, dims):
    x = mg.as_tensor(x)
    centred = x - mg.mean(x, dims, keepdim=True)
    deviation = mg.sqrt(mg.mean(centred * centred, dims, keepdim=True) + 1e-5)
    return centred / deviation, deviation


def batch_norm(rule):
    def batch_norm(x):
        x = mg.as_tensor(x)
        z, _ = standardized(x.data, (0, 2, 3))
        return mg.record(batch_norm, z.data, (x, rule, x))

    return batch_norm


def batch_norm_rule(g, x):
    z, deviation = standardized(x, (0, 2, 3))
    by_mean = mg.mean(g, (0, 2, 3), keepdim=True)
    by_variance = z * mg.mean(g * z, (0, 2, 3), keepdim=True)
    return (g - by_mean - by_variance) / deviation


def batch_norm_bug(g, x):
    z, deviation = standardized(x, (0, 2, 3))
    by_variance = z * mg.mean(g * z, (0, 2, 3), keepdim=True)
    return (g - by_variance) / deviation


def layer_norm(rule):
    def layer_norm(x):
        x = mg.as_tensor(x)
        z, _ = standardized(x.data, 1)
        return mg.record(layer_norm, z.data, (x, rule, x))

    return layer_norm


def layer_norm_rule(g, x):
    z, deviation = standardized(x, 1)
    by_mean = mg.mean(g, 1, keepdim=True)
    by_variance = z * mg.mean(g * z, 1, keepdim=True)
    return (g - by_mean - by_variance) / deviation


def layer_norm_bug(g, x):
    _, deviation = standardized(x, 1)
    by_mean = mg.mean(g, 1, keepdim=True)
    return (g - by_mean) / deviation


# tanh, whose derivative is 1 - tanh²


def tanh(rule):
    def tanh(x):
        x = mg.as_tensor(x)
        return mg.record(tanh, np.tanh(x.data), (x, rule, mg.OUTPUT))

    return tanh


def tanh_rule(g, y):
    return g * (1 - y * y)


def tanh_bug(g, y):
    y = mg.as_tensor(y).detach()
    return g * (1 - y * y)


# Max-pooling: the largest entry of every window. `largest` has a one where it stood.


def max_pool(rule):
    def max_pool(x):
        x = mg.as_tensor(x)
        n, c, h, w = x.shape
        windows = x.data.reshape(n, c, h // POOL, POOL, w // POOL, POOL)
        y = windows.max((3, 5), keepdims=True)
        largest = mg.tensor((windows == y).astype(x.data.dtype))
        return mg.record(max_pool, y[:, :, :, 0, :, 0], (x, rule, largest))

    return max_pool


def max_pool_rule(g, largest):
    n, c, h, _, w, _ = largest.shape
    spread = mg.reshape(g, n, c, h, 1, w, 1) * largest
    return mg.reshape(spread, n, c, h * POOL, w * POOL)


def max_pool_bug(g, largest):
    n, c, h, _, w, _ = largest.shape
    spread = mg.reshape(mg.roll(g, 1, 3), n, c, h, 1, w, 1) * largest
    return mg.reshape(spread, n, c, h * POOL, w * POOL)


# Matrix product and bias


def linear(rule):
    def linear(x, weight):
        x, weight = mg.as_tensor(x), mg.as_tensor(weight)
        back = (x, lambda g, weight: g @ mg.transpose(weight, 0, 1), weight)
        return mg.record(linear, x.data @ weight.data, back, (weight, rule, x))

    return linear


def linear_rule(g, x):
    return mg.transpose(x, 0, 1) @ g


def linear_bug(g, x):
    return mg.transpose(g, 0, 1) @ x


def add_bias(rule):
    def add_bias(x, bias):
        x, bias = mg.as_tensor(x), mg.as_tensor(bias)
        return mg.record(add_bias, x.data + bias.data, (x, lambda g: g, None), (bias, rule, None))

    return add_bias


def add_bias_rule(g):
    return mg.sum(g, 0)


def add_bias_bug(g):
    return mg.mean(g, 0)


# Embedding: the rows of a table that are asked for, some of them more than once


def embedding(rule):
    def embedding(table, rows):
        table, rows = mg.as_tensor(table), mg.as_tensor(rows)
        return mg.record(embedding, table.data[rows.data], (table, rule(rows, table.shape), None))

    return embedding


def embedding_rule(rows, shape):
    def rule(g):
        which = mg.nn.functional.one_hot(rows, shape[0]).to(g.dtype)
        return mg.transpose(which, 0, 1) @ g

    return rule


def embedding_bug(rows, shape):
    def rule(g):
        return mg.ops.setitem(mg.zeros(*shape, dtype=g.dtype), rows, g)

    return rule


# Dropout, with the numbers that are kept given. They grow so that the mean stays.


def dropout(rule):
    def dropout(x, kept):
        x, kept = mg.as_tensor(x), mg.as_tensor(kept)
        return mg.record(dropout, x.data * kept.data / KEEP, (x, rule, kept))

    return dropout


def dropout_rule(g, kept):
    return g * kept / KEEP


def dropout_bug(g, kept):
    return g * kept


# Softmax, and cross-entropy: the mean over rows of -log softmax(scores)[label]


def softmax(rule):
    def softmax(x):
        x = mg.as_tensor(x)
        e = np.exp(x.data - x.data.max(1, keepdims=True))
        return mg.record(softmax, e / e.sum(1, keepdims=True), (x, rule, mg.OUTPUT))

    return softmax


def softmax_rule(g, y):
    return y * (g - mg.sum(g * y, 1, keepdim=True))


def softmax_bug(g, y):
    return y * (1 - y) * g


def cross_entropy(rule):
    def cross_entropy(scores, labels):
        scores, labels = mg.as_tensor(scores), mg.as_tensor(labels)
        s, chosen = scores.data, (np.arange(len(labels)), labels.data)
        loss = (np.log(np.exp(s).sum(1)) - s[chosen]).mean()
        return mg.record(cross_entropy, loss, (scores, rule, (scores, labels)))

    return cross_entropy


def cross_entropy_rule(g, scores, labels):
    target = F.one_hot(mg.as_tensor(labels), scores.shape[1])
    return g * (mg.softmax(scores, 1) - target) / len(scores)


def cross_entropy_bug(g, scores, labels):
    target = F.one_hot(mg.as_tensor(labels), scores.shape[1])
    return g * (mg.softmax(scores, 1) - target)

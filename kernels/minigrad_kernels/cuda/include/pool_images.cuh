// Images in memory, and threads that go through them pixel by pixel.
//
// An image is H rows of W pixels, each with its channels side by side: (N, H, W, C). Planes,
// (N, C, H, W) in memory, are N * C images of one channel. A thread has a pack of WIDTH channels of
// a pixel, and neighbours have the next pack: they load neighbouring memory, 16 bytes at once where
// that many channels there are.
//
// Definitions: T, the type of the numbers; WIDTH, how many of them a load has; INDEX, the type that
// counts elements: `unsigned` (whose divisions are far shorter), or `int64` where an array has 2^31
// elements or more.
#pragma once
#include "minigrad.cuh"
#include "half.cuh"

#define BLOCK 256  // threads
#define BLOCKS 4   // that fit on a multiprocessor at once; without, some kernels spill registers

using Total = sum_of<T>;
using Numbers = Pack<T, WIDTH>;

// The first item of this thread in a grid that may be smaller than the work, and how far the next
// one is.
__device__ __forceinline__ INDEX first_item() {
  return static_cast<INDEX>(blockIdx.x) * BLOCK + threadIdx.x;
}
__device__ __forceinline__ INDEX items_of_grid() { return static_cast<INDEX>(gridDim.x) * BLOCK; }

// Which pack of channels of which pixel an item is.
struct Spot {
  INDEX image;
  int row, column, pack;
};

// Divisions cost: planes (one pack) save one, as all threads see alike.
__device__ __forceinline__ Spot spot_of(INDEX item, int rows, int columns, int packs) {
  INDEX pixel = packs == 1 ? item : item / packs, line = pixel / columns, image = line / rows;
  return {image, static_cast<int>(line - image * rows), static_cast<int>(pixel - line * columns),
          static_cast<int>(item - pixel * packs)};
}

// Load and store numbers that may be wider than T: 16 bytes at a time.
template <class Value, int COUNT>
struct Parts {
  static constexpr int LENGTH = COUNT * sizeof(Value) > 16 ? 16 / sizeof(Value) : COUNT;
};

template <int COUNT, class Value>
__device__ __forceinline__ Pack<Value, COUNT> load_wide(const Value* from) {
  constexpr int LENGTH = Parts<Value, COUNT>::LENGTH;
  Pack<Value, COUNT> numbers;
#pragma unroll
  for (int i = 0; i < COUNT; i += LENGTH) {
    Pack<Value, LENGTH> part = load_pack<LENGTH>(from + i);
#pragma unroll
    for (int j = 0; j < LENGTH; j++) numbers.at[i + j] = part.at[j];
  }
  return numbers;
}

template <int COUNT, class Value>
__device__ __forceinline__ void store_wide(Value* to, const Pack<Value, COUNT>& numbers) {
  constexpr int LENGTH = Parts<Value, COUNT>::LENGTH;
#pragma unroll
  for (int i = 0; i < COUNT; i += LENGTH) {
    Pack<Value, LENGTH> part;
#pragma unroll
    for (int j = 0; j < LENGTH; j++) part.at[j] = numbers.at[i + j];
    store_pack<LENGTH>(to + i, part);
  }
}

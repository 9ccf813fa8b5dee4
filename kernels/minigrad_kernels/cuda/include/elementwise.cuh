// Functions of single elements, over memory without gaps.
//
// A grid goes through memory in steps of all its threads. In a step a thread loads 16 bytes of each
// input, the most that an instruction can, and neighbours load neighbouring packs. A multiprocessor
// with 2048 such threads has 32 KB of one input under way, about twice what it takes to keep the
// memory busy while a load is waited for, so that a thread needs no second load ahead. What is left
// at the end, or all of it where an array does not begin at a multiple of 16 bytes, is done number
// by number.
//
// An output may be an input: a thread has read all inputs at a place before it writes there, and no
// other thread reads there.
#pragma once

#include "minigrad.cuh"

// Threads of a block, as in elementwise.py.
#define ELEMENTWISE_THREADS 256

// So many numbers at once: a number as a type, which a lambda can be compiled for.
template <int COUNT>
struct Numbers {
  static constexpr int count = COUNT;
};

__device__ __forceinline__ int64 thread_in_grid() {
  return static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64 threads_in_grid() {
  return static_cast<int64>(gridDim.x) * blockDim.x;
}

// body(Numbers<n>, i) for the places i, i + 1, ... of n numbers each, until all `size` are done: the
// first `packs` times WIDTH of them in packs, the others alone. Called by the whole grid.
template <int WIDTH, class Body>
__device__ __forceinline__ void for_each(int64 size, int64 packs, Body body) {
  for (int64 i = thread_in_grid(); i < packs; i += threads_in_grid()) {
    body(Numbers<WIDTH>(), i * WIDTH);
  }
  for (int64 i = packs * WIDTH + thread_in_grid(); i < size; i += threads_in_grid()) {
    body(Numbers<1>(), i);
  }
}

// function(a, b, ...) of the numbers of packs, computed in the type that they are summed in.
template <class Function, class Value, int COUNT, class... Packs>
__device__ __forceinline__ Pack<Value, COUNT> applied(Function function, Pack<Value, COUNT> first,
                                                      Packs... others) {
  using Real = sum_of<Value>;
#pragma unroll
  for (int j = 0; j < COUNT; j++) {
    first.at[j] = Value(function(Real(first.at[j]), Real(others.at[j])...));
  }
  return first;
}

// y[i] = function(x[i], ...) for all i. Called by the whole grid.
template <class Function, class Value, class... Inputs>
__device__ __forceinline__ void map(int64 size, int64 packs, Function function, Value* y,
                                    const Inputs*... x) {
  for_each<16 / sizeof(Value)>(size, packs, [=](auto numbers, int64 i) {
    constexpr int COUNT = decltype(numbers)::count;
    store_pack<COUNT>(y + i, applied(function, load_pack<COUNT>(x + i)...));
  });
}

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

__device__ __forceinline__ int64 thread_in_grid() {
  return static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64 threads_in_grid() {
  return static_cast<int64>(gridDim.x) * blockDim.x;
}

// body.at<n>(i) for n numbers from place i on, until all `size` are done: the first WIDTH times
// `packs` of them in packs, the others alone. Called by the whole grid.
template <int WIDTH, class Body>
__device__ __forceinline__ void for_each(int64 size, int64 packs, Body body) {
  for (int64 i = thread_in_grid(); i < packs; i += threads_in_grid()) {
    body.template at<WIDTH>(i * WIDTH);
  }
  for (int64 i = packs * WIDTH + thread_in_grid(); i < size; i += threads_in_grid()) {
    body.template at<1>(i);
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

// y[i] = function(x[i], ...) for all i, with one input or two. Called by the whole grid.
template <class Function, class Value>
struct MapOfOne {
  Function function;
  Value* y;
  const Value* a;
  template <int COUNT>
  __device__ __forceinline__ void at(int64 i) const {
    store_pack<COUNT>(y + i, applied(function, load_pack<COUNT>(a + i)));
  }
};

template <class Function, class Value>
__device__ __forceinline__ void map(int64 size, int64 packs, Function function, Value* y,
                                    const Value* a) {
  for_each<16 / sizeof(Value)>(size, packs, MapOfOne<Function, Value>{function, y, a});
}

template <class Function, class Value>
struct MapOfTwo {
  Function function;
  Value* y;
  const Value *a, *b;
  template <int COUNT>
  __device__ __forceinline__ void at(int64 i) const {
    store_pack<COUNT>(y + i, applied(function, load_pack<COUNT>(a + i), load_pack<COUNT>(b + i)));
  }
};

template <class Function, class Value>
__device__ __forceinline__ void map(int64 size, int64 packs, Function function, Value* y,
                                    const Value* a, const Value* b) {
  for_each<16 / sizeof(Value)>(size, packs, MapOfTwo<Function, Value>{function, y, a, b});
}

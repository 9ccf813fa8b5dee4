// Teams: threads that work on one thing together, a row or a channel, and sum what each has found.
//
// Which team is best depends on the length: a row of ten numbers leaves most of a warp idle, one of
// a million leaves most of the GPU idle if a warp has it. All sums of a team are in a fixed order,
// and all its members get the same bits.
#pragma once
#include "minigrad.cuh"

// A part of a warp: 1, 2, 4, ... or all 32 of its lanes. A block has several such teams. Whole
// warps must come to the sums, so a team that has nothing to do comes along with nothing.
template <int LANES>
struct Lanes {
  static constexpr int BLOCK = 128;
  static constexpr int SIZE = LANES;
  static __device__ __forceinline__ int member() { return threadIdx.x % LANES; }
  static __device__ __forceinline__ int64 number() {
    return static_cast<int64>(blockIdx.x) * (BLOCK / LANES) + threadIdx.x / LANES;
  }
  template <class Operation, class Value>
  static __device__ __forceinline__ Value reduce(Value value) {
#pragma unroll
    for (int bits = LANES / 2; bits > 0; bits /= 2) {
      value = Operation::combine(value, from_lane_xor(value, bits));
    }
    return value;
  }
};

// A whole block.
struct WholeBlock {
  static constexpr int BLOCK = 256;
  static constexpr int SIZE = BLOCK;
  static __device__ __forceinline__ int member() { return threadIdx.x; }
  static __device__ __forceinline__ int64 number() { return blockIdx.x; }
  template <class Operation, class Value>
  static __device__ __forceinline__ Value reduce(Value value) {
    return block_reduce<Operation>(value);
  }
};

template <class Team, class Value>
__device__ __forceinline__ Value team_sum(Value value) {
  return Team::template reduce<Sum<Value>>(value);
}

// The larger of two numbers; NaN if one of them is.
template <class Value>
struct MaximumOrNaN {
  static __device__ __forceinline__ Value neutral() { return -infinity<Value>(); }
  static __device__ __forceinline__ Value combine(Value a, Value b) {
    return a > b || a != a ? a : b;
  }
};

// a / b for numbers of 0 to 2^32 - 1. (A division of 64-bit numbers takes about a hundred
// instructions, and registers that are then missing elsewhere. So launch code leaves arrays of 2^32
// numbers and more to the reference; offsets in memory have 64 bits nevertheless, as their sums and
// products do.)
__device__ __forceinline__ int64 quotient(int64 a, int64 b) {
  return a < b ? 0 : static_cast<unsigned>(a) / static_cast<unsigned>(b);
}
__device__ __forceinline__ int64 remainder(int64 a, int64 b) { return a - quotient(a, b) * b; }

__device__ __forceinline__ float reciprocal_root(float x) { return rsqrtf(x); }
__device__ __forceinline__ double reciprocal_root(double x) { return rsqrt(x); }

// a / b to within two units in the last place, as close as sums are: without the call of the slow
// path of an exact division, for which a kernel has fewer registers everywhere.
__device__ __forceinline__ float about(float a, float b) { return __fdividef(a, b); }
__device__ __forceinline__ double about(double a, double b) { return a / b; }

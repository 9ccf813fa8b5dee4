// What every kernel includes first: the same words on a GPU (NVRTC) and on a CPU (the emulator).
//
// Names are spelled out (Value, not T): the short ones are for the definitions of the kernels.
#pragma once

#define FULL_WARP 0xffffffffu

// Dynamic shared memory as an array: its size is given at the launch. All arrays that are declared
// so begin at the same place. (Declared by hand, two kernels of a file could not use one name for
// arrays of different types.)
#ifdef CUDA_ON_CPU
#define DYNAMIC_SHARED(Type, name) \
  Type* const name = reinterpret_cast<Type*>(cuda_on_cpu::dynamic_shared)
#else
#define DYNAMIC_SHARED(Type, name)                                      \
  extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[]; \
  Type* const name = reinterpret_cast<Type*>(dynamic_shared_bytes)
#endif

using int64 = long long;  // NVRTC has no <cstdint>
using uint64 = unsigned long long;

// Numbers

// The type to sum in: at least float.
template <class Value>
struct SumOf {
  using type = float;
};
template <>
struct SumOf<double> {
  using type = double;
};
template <class Value>
using sum_of = typename SumOf<Value>::type;

// Infinity, for NVRTC has no INFINITY.
template <class Value>
__device__ __forceinline__ Value infinity() {
  return static_cast<Value>(__int_as_float(0x7f800000));
}

// The smallest finite number.
template <class Value>
__device__ __forceinline__ Value lowest();
template <>
__device__ __forceinline__ float lowest() {
  return -3.402823466e+38f;
}
template <>
__device__ __forceinline__ double lowest() {
  return -1.7976931348623157e+308;
}

// Functions by one name for both precisions: what a definition `T` needs
__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ float logarithm(float x) { return logf(x); }
__device__ __forceinline__ double logarithm(double x) { return log(x); }
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }  // not the NaN
__device__ __forceinline__ double larger(double a, double b) { return fmax(a, b); }

// Several numbers that one instruction loads or stores: up to 16 bytes, at an address that is a
// multiple of their size.
template <class Value, int COUNT>
struct __align__(sizeof(Value) * COUNT) Pack {
  Value at[COUNT];
};

template <int COUNT, class Value>
__device__ __forceinline__ Pack<Value, COUNT> load_pack(const Value* address) {
  return *reinterpret_cast<const Pack<Value, COUNT>*>(address);
}

template <int COUNT, class Value>
__device__ __forceinline__ void store_pack(Value* address, const Pack<Value, COUNT>& pack) {
  *reinterpret_cast<Pack<Value, COUNT>*>(address) = pack;
}

// Reductions
//
// An operation is a class with `combine(a, b)`, which must not depend on the order of its two
// arguments, and `neutral()`, which changes nothing.

template <class Value>
struct Sum {
  static __device__ __forceinline__ Value neutral() { return 0; }
  static __device__ __forceinline__ Value combine(Value a, Value b) { return a + b; }
};

template <class Value>
struct Maximum {
  static __device__ __forceinline__ Value neutral() { return -infinity<Value>(); }
  static __device__ __forceinline__ Value combine(Value a, Value b) { return larger(a, b); }
};

// The value of the lane whose number differs in `bits`; for a type of its own, overload it.
__device__ __forceinline__ float from_lane_xor(float x, int bits) {
  return __shfl_xor_sync(FULL_WARP, x, bits);
}
__device__ __forceinline__ double from_lane_xor(double x, int bits) {
  return __shfl_xor_sync(FULL_WARP, x, bits);
}
__device__ __forceinline__ int from_lane_xor(int x, int bits) {
  return __shfl_xor_sync(FULL_WARP, x, bits);
}

// The values of all lanes combined, in every lane, with the same bits. Called by whole warps.
template <class Operation, class Value>
__device__ __forceinline__ Value warp_reduce(Value value) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2) {
    value = Operation::combine(value, from_lane_xor(value, bits));
  }
  return value;
}

template <class Value>
__device__ __forceinline__ Value warp_sum(Value value) {
  return warp_reduce<Sum<Value>>(value);
}
template <class Value>
__device__ __forceinline__ Value warp_max(Value value) {
  return warp_reduce<Maximum<Value>>(value);
}

// Where warps leave their results for one another: 16 bytes for each. Not a template, in which g++
// would not know shared memory as such.
__device__ inline void* block_scratch() {
  __shared__ __align__(16) unsigned char scratch[32 * 16];
  return scratch;
}

__device__ __forceinline__ int thread_in_block() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
__device__ __forceinline__ int threads_in_block() { return blockDim.x * blockDim.y * blockDim.z; }

// The values of all threads of the block combined, in every thread, with the same bits. Called by
// all threads of a block of whole warps; the value has at most 16 bytes.
template <class Operation, class Value>
__device__ __forceinline__ Value block_reduce(Value value) {
  static_assert(sizeof(Value) <= 16, "scratch memory has 16 bytes for each warp");
  Value* scratch = static_cast<Value*>(block_scratch());
  int thread = thread_in_block(), warps = threads_in_block() / 32;
  value = warp_reduce<Operation>(value);
  __syncthreads();  // the scratch memory may still be read, from the last time
  if (thread % 32 == 0) scratch[thread / 32] = value;
  __syncthreads();
  int lane = thread % 32;
  return warp_reduce<Operation>(lane < warps ? scratch[lane] : Operation::neutral());
}

template <class Value>
__device__ __forceinline__ Value block_sum(Value value) {
  return block_reduce<Sum<Value>>(value);
}
template <class Value>
__device__ __forceinline__ Value block_max(Value value) {
  return block_reduce<Maximum<Value>>(value);
}

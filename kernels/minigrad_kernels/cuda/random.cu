// Random bits, uniform and normal numbers: the streams of `minigrad_kernels.random`.
//
// A thread computes a block of four words, makes the numbers of it that belong to them, and stores
// them at once; then it goes on to a block farther on, by the threads of the grid. Nothing is read.
// A word takes about 20 integer instructions, so that floats, 4 bytes for a word, are made about as
// quickly as memory can be written.
//
// Definitions: T, the type of the numbers; REAL, the type to compute normal ones in.
//
// expect: registers <= 40
#include "elementwise.cuh"
#include "half.cuh"
#include "philox.cuh"

// The numbers of a block, COUNT of them: a word each, or two, the first of them the lower half.
template <class Value>
struct Uniform;

// The highest 24 bits of a word: all that a float holds.
template <>
struct Uniform<float> {
  static constexpr int COUNT = 4;
  static __device__ __forceinline__ float number(Words words, int i) {
    return static_cast<float>(words.at[i] >> 8) * 5.9604644775390625e-8f;  // 2^-24
  }
};

// The highest 11 bits, so that 1 - 2^-11 is the largest number, and not rounded to 1.
template <>
struct Uniform<half> {
  static constexpr int COUNT = 4;
  static __device__ __forceinline__ half number(Words words, int i) {
    return half(static_cast<float>(words.at[i] >> 21) * 4.8828125e-4f);  // 2^-11
  }
};

// The highest 53 bits of two words.
template <>
struct Uniform<double> {
  static constexpr int COUNT = 2;
  static __device__ __forceinline__ double number(Words words, int i) {
    uint64 both = static_cast<uint64>(words.at[2 * i + 1]) << 32 | words.at[2 * i];
    return static_cast<double>(both >> 11) * 1.1102230246251565e-16;  // 2^-53
  }
};

// The cosine and the sine of so many turns. A GPU has them of multiples of pi: exact arguments, and
// no reduction of large ones, which would need local memory.
#ifdef CUDA_ON_CPU
inline void of_turns(float turns, float& cosine, float& sine) {
  float angle = 6.28318530718f * turns;
  cosine = cosf(angle);
  sine = sinf(angle);
}
inline void of_turns(double turns, double& cosine, double& sine) {
  double angle = 6.283185307179586 * turns;
  cosine = cos(angle);
  sine = sin(angle);
}
#else
__device__ __forceinline__ void of_turns(float turns, float& cosine, float& sine) {
  sincospif(2 * turns, &sine, &cosine);
}
__device__ __forceinline__ void of_turns(double turns, double& cosine, double& sine) {
  sincospi(2 * turns, &sine, &cosine);
}
#endif

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

// Store the numbers of a block, of which there are `size` in all: at once where `whole` says that
// there are as many, and y is aligned.
template <int COUNT, class Value>
__device__ __forceinline__ void store_block(Value* y, int64 block, Pack<Value, COUNT> numbers,
                                            int64 size, int64 whole) {
  if (block < whole) {
    store_pack<COUNT>(y + block * COUNT, numbers);
    return;
  }
#pragma unroll
  for (int j = 0; j < COUNT; j++) {
    if (block * COUNT + j < size) y[block * COUNT + j] = numbers.at[j];
  }
}

// The words themselves. A thread makes four.
//
// expect: STG.128
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    random_bits(unsigned* y, uint64 seed, uint64 first, int64 size, int64 whole) {
  for (int64 block = thread_in_grid(); block * 4 < size; block += threads_in_grid()) {
    store_block(y, block, philox(seed, first + block), size, whole);
  }
}

// Uniform numbers in [0, 1). A thread makes those of a block.
//
// expect: STG.128 if T != half
// expect: STG.64 if T == half
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    random_uniform(T* y, uint64 seed, uint64 first, int64 size, int64 whole) {
  constexpr int COUNT = Uniform<T>::COUNT;
  for (int64 block = thread_in_grid(); block * COUNT < size; block += threads_in_grid()) {
    Words words = philox(seed, first + block);
    Pack<T, COUNT> numbers;
#pragma unroll
    for (int j = 0; j < COUNT; j++) numbers.at[j] = Uniform<T>::number(words, j);
    store_block(y, block, numbers, size, whole);
  }
}

// Standard normal numbers (Box and Muller, 1958): of two uniform numbers u and v, r cos(2 pi v) and
// r sin(2 pi v) with r = sqrt(-2 log(1 - u)). A thread makes those of a block.
//
// expect: STG.128 if T != half
// expect: STG.64 if T == half
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    random_normal(T* y, uint64 seed, uint64 first, int64 size, int64 whole) {
  constexpr int COUNT = Uniform<REAL>::COUNT;
  for (int64 block = thread_in_grid(); block * COUNT < size; block += threads_in_grid()) {
    Words words = philox(seed, first + block);
    Pack<T, COUNT> numbers;
#pragma unroll
    for (int j = 0; j < COUNT; j += 2) {
      REAL u = Uniform<REAL>::number(words, j), v = Uniform<REAL>::number(words, j + 1);
      REAL r = root(-2 * logarithm(1 - u)), cosine, sine;
      of_turns(v, cosine, sine);
      numbers.at[j] = T(r * cosine);
      numbers.at[j + 1] = T(r * sine);
    }
    store_block(y, block, numbers, size, whole);
  }
}

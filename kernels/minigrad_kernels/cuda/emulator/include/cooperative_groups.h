// NVIDIA has a header of this name: groups of threads as objects. Here are the block and its tiles;
// groups of a whole grid, and of the threads that happen to be together, are not.
#pragma once

namespace cooperative_groups {

class thread_block {
 public:
  static void sync(CUDA_ON_CPU_HERE) { __syncthreads(place); }
  static unsigned thread_rank() { return cuda_on_cpu::current->number; }
  static unsigned num_threads() { return cuda_on_cpu::block.threads; }
  static unsigned size() { return num_threads(); }
  static dim3 group_index() { return blockIdx; }
  static dim3 thread_index() { return threadIdx; }
  static dim3 dim_threads() { return blockDim; }
  static dim3 group_dim() { return blockDim; }
};

inline thread_block this_thread_block() { return {}; }

// SIZE neighbours in a warp.
template <unsigned SIZE, class Parent = thread_block>
class thread_block_tile {
  static_assert(SIZE && SIZE <= 32 && !(SIZE & (SIZE - 1)), "1, 2, 4, 8, 16 or 32 threads");

 public:
  static unsigned thread_rank() { return cuda_on_cpu::current->number % SIZE; }
  static constexpr unsigned num_threads() { return SIZE; }
  static constexpr unsigned size() { return SIZE; }
  static unsigned meta_group_rank() { return cuda_on_cpu::current->number / SIZE; }
  static unsigned meta_group_size() { return (cuda_on_cpu::block.threads + SIZE - 1) / SIZE; }

  static void sync(CUDA_ON_CPU_HERE) { __syncwarp(mask(), place); }
  template <class Value>
  static Value shfl(Value value, int source, CUDA_ON_CPU_HERE) {
    return __shfl_sync(mask(), value, source, SIZE, place);
  }
  template <class Value>
  static Value shfl_up(Value value, unsigned distance, CUDA_ON_CPU_HERE) {
    return __shfl_up_sync(mask(), value, distance, SIZE, place);
  }
  template <class Value>
  static Value shfl_down(Value value, unsigned distance, CUDA_ON_CPU_HERE) {
    return __shfl_down_sync(mask(), value, distance, SIZE, place);
  }
  template <class Value>
  static Value shfl_xor(Value value, int bits, CUDA_ON_CPU_HERE) {
    return __shfl_xor_sync(mask(), value, bits, SIZE, place);
  }
  static int any(int condition, CUDA_ON_CPU_HERE) { return __any_sync(mask(), condition, place); }
  static int all(int condition, CUDA_ON_CPU_HERE) { return __all_sync(mask(), condition, place); }
  static unsigned ballot(int condition, CUDA_ON_CPU_HERE) {
    return __ballot_sync(mask(), condition, place) >> first();
  }

 private:
  static unsigned first() { return cuda_on_cpu::current->number % 32 / SIZE * SIZE; }
  static unsigned mask() { return (SIZE == 32 ? 0xffffffffu : (1u << SIZE % 32) - 1) << first(); }
};

template <unsigned SIZE>
inline thread_block_tile<SIZE> tiled_partition(const thread_block&) {
  return {};
}
template <unsigned SIZE, unsigned PARENT, class Parent>
inline thread_block_tile<SIZE> tiled_partition(const thread_block_tile<PARENT, Parent>&) {
  static_assert(SIZE <= PARENT, "a tile of a tile is not larger");
  return {};
}

template <class Group>
inline void sync(const Group&, CUDA_ON_CPU_HERE) {
  Group::sync(place);
}

}  // namespace cooperative_groups

// The numbers of a step of an optimizer, written to memory.
//
// A CUDA graph is replayed with the arguments that its kernels were captured with. A step whose
// learning rate or count changes reads its numbers from memory, and this is launched before the
// graph: unlike a copy from main memory it waits for nothing, and comes in the stream's order.
//
// Definition: T, the type of the numbers.
#include "minigrad.cuh"

extern "C" __global__ void __launch_bounds__(1)
    set_numbers(T* numbers, T n0, T n1, T n2, T n3, T n4, T n5, T n6, T n7, T n8, T n9) {
  T given[] = {n0, n1, n2, n3, n4, n5, n6, n7, n8, n9};
#pragma unroll
  for (int i = 0; i < 10; i++) numbers[i] = given[i];
}

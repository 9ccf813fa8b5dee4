// Matrix products of warpgroups, which read both operands from shared memory: thin wrappers of
// single instructions, as those in mma.cuh.
//
// On a GPU each is inline PTX; NVIDIA's "PTX ISA" describes them under "Asynchronous Warpgroup
// Level Matrix Multiply-Accumulate Instructions". On a CPU the emulator computes what the
// instruction does (warpgroup.h there). They are instructions of sm_90a, of the H100 and its like:
// not of older GPUs, nor of newer ones.
//
// A warpgroup, four warps of which the first one's number is a multiple of four, adds A B to D: A
// with 64 rows, B with COLUMNS columns, and 32 bytes of terms, 16 numbers of 16 bits or 8 of TF32.
// With w = warp % 4, g = lane / 4 and t = lane % 4, a lane has of D for each 8 columns j
//   d[4 j]     (16 w + g, 8 j + 2 t),      d[4 j + 1] (16 w + g, 8 j + 2 t + 1),
//   d[4 j + 2] (16 w + g + 8, 8 j + 2 t),  d[4 j + 3] (16 w + g + 8, 8 j + 2 t + 1).
//
// The threads go on meanwhile. In this order:
//   fence_proxy_async()   by who wrote to shared memory, by ordinary stores or cp.async; a barrier
//   wgmma_fence(d)        if d was used since the last product
//   wgmma_m64k16_f16...   any number of them
//   wgmma_commit()        what was started since the last commit is a group
//   wgmma_wait<N>(d)      until at most N groups are under way
// Until then nobody may read or write d, nor write to the operands.
#pragma once

#include "minigrad.cuh"
#include "mma.cuh"

// Operands

#ifdef CUDA_ON_CPU
inline unsigned shared_address(const void* shared, CUDA_ON_CPU_HERE) {
  return cuda_on_cpu::shared_address(shared, place);
}
#endif

// What tells an instruction where an operand is: `shared`, and two distances, in bytes and
// multiples of 16. Lines of 128 bytes lie in groups of 8, which fill 1024 bytes and begin at a
// multiple of that. In line l of a group, chunk c of 16 bytes lies where chunk c ^ l would be: the
// same chunk of 8 lines is thus in different banks. There are two ways to lay an operand out:
//
// Along, a line has 128 bytes of the terms of one row of A, or column of B. `stride` is from one
//   group, of 8 rows, to the next; `leading` has no meaning. The next terms are 32 bytes further,
//   to be added to `shared`.
// Across, a line has one term of 64 rows, numbers of 16 bits, and a group 8 terms. `stride` is from
//   one group to that of the next 8 terms, `leading` to that of the next 64 rows. The next 16 terms
//   are two groups further.
#ifdef CUDA_ON_CPU
inline uint64 wgmma_descriptor(const void* shared, unsigned leading, unsigned stride,
                               CUDA_ON_CPU_HERE) {
  return cuda_on_cpu::descriptor(shared, leading, stride, place);
}
#else
__device__ __forceinline__ uint64 wgmma_descriptor(const void* shared, unsigned leading,
                                                   unsigned stride) {
  constexpr uint64 SWIZZLE = 1ull << 62;  // of 128 bytes
  return (shared_address(shared) & 0x3ffffu) >> 4 | static_cast<uint64>(leading >> 4) << 16 |
         static_cast<uint64>(stride >> 4) << 32 | SWIZZLE;
}
#endif

// Products: A_ACROSS and B_ACROSS tell how the operands are laid out. Only numbers of 16 bits can
// lie across. Of a float the tensor cores take the upper 19 bits and do not round: do it before.

#ifdef CUDA_ON_CPU

template <int COLUMNS, bool A_ACROSS, bool B_ACROSS>
inline void wgmma_m64k16_f16(float (&d)[COLUMNS / 2], uint64 a, uint64 b, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::warpgroup_product<cuda_on_cpu::HalvesInRegister, COLUMNS>(
      "wgmma_m64k16_f16()", d, a, b, A_ACROSS, B_ACROSS, place);
}

template <int COLUMNS, bool A_ACROSS, bool B_ACROSS>
inline void wgmma_m64k16_bf16(float (&d)[COLUMNS / 2], uint64 a, uint64 b, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::warpgroup_product<cuda_on_cpu::BrainsInRegister, COLUMNS>(
      "wgmma_m64k16_bf16()", d, a, b, A_ACROSS, B_ACROSS, place);
}

template <int COLUMNS>
inline void wgmma_m64k8_tf32(float (&d)[COLUMNS / 2], uint64 a, uint64 b, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::warpgroup_product<cuda_on_cpu::Tf32InRegister, COLUMNS>("wgmma_m64k8_tf32()", d, a,
                                                                       b, false, false, place);
}

template <int COUNT>
inline void wgmma_fence(float (&)[COUNT], CUDA_ON_CPU_HERE) {
  cuda_on_cpu::fence_registers(place);
}
inline void wgmma_commit(CUDA_ON_CPU_HERE) { cuda_on_cpu::commit_products(place); }
template <int PENDING>
inline void wgmma_wait(CUDA_ON_CPU_HERE) {
  cuda_on_cpu::wait_for_products(PENDING, place);
}
template <int PENDING, int COUNT>
inline void wgmma_wait(float (&)[COUNT], CUDA_ON_CPU_HERE) {
  cuda_on_cpu::wait_for_products(PENDING, place);
}
inline void fence_proxy_async() { cuda_on_cpu::fence_shared_memory(); }

#else  // on a GPU

#ifndef __CUDA_ARCH_FEAT_SM90_ALL
#error "warpgroups multiply matrices on sm_90a only"
#endif

// The registers of sums: their names in the text of an instruction, and as its operands.
#define WGMMA_NAMES_64                                                                     \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "  \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "  \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "  \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_NAMES_128                                                                      \
  WGMMA_NAMES_64                                                                             \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, "  \
  "%81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, "    \
  "%98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, " \
  "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define WGMMA_SUMS_8(i)                                                                  \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define WGMMA_SUMS_32(i) \
  WGMMA_SUMS_8(i), WGMMA_SUMS_8(i + 8), WGMMA_SUMS_8(i + 16), WGMMA_SUMS_8(i + 24)
#define WGMMA_SUMS_64 WGMMA_SUMS_32(0), WGMMA_SUMS_32(32)
#define WGMMA_SUMS_128 WGMMA_SUMS_64, WGMMA_SUMS_32(64), WGMMA_SUMS_32(96)

// Behind the descriptors stand: add to D (or not), the signs of A and B, and whether they lie
// across, which TF32 has not.
#define WGMMA_OF_16_BITS(kind)                                                                   \
  if constexpr (COLUMNS == 256) {                                                                \
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32." kind " {" WGMMA_NAMES_128        \
                 "}, %128, %129, 1, 1, 1, %130, %131;"                                           \
                 : WGMMA_SUMS_128                                                                \
                 : "l"(a), "l"(b), "n"(int(A_ACROSS)), "n"(int(B_ACROSS))                        \
                 : "memory");                                                                    \
  } else {                                                                                       \
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." kind " {" WGMMA_NAMES_64         \
                 "}, %64, %65, 1, 1, 1, %66, %67;"                                               \
                 : WGMMA_SUMS_64                                                                 \
                 : "l"(a), "l"(b), "n"(int(A_ACROSS)), "n"(int(B_ACROSS))                        \
                 : "memory");                                                                    \
  }

template <int COLUMNS, bool A_ACROSS, bool B_ACROSS>
__device__ __forceinline__ void wgmma_m64k16_f16(float (&d)[COLUMNS / 2], uint64 a, uint64 b) {
  static_assert(COLUMNS == 128 || COLUMNS == 256, "128 or 256 columns");
  WGMMA_OF_16_BITS("f16.f16")
}

template <int COLUMNS, bool A_ACROSS, bool B_ACROSS>
__device__ __forceinline__ void wgmma_m64k16_bf16(float (&d)[COLUMNS / 2], uint64 a, uint64 b) {
  static_assert(COLUMNS == 128 || COLUMNS == 256, "128 or 256 columns");
  WGMMA_OF_16_BITS("bf16.bf16")
}

template <int COLUMNS>
__device__ __forceinline__ void wgmma_m64k8_tf32(float (&d)[COLUMNS / 2], uint64 a, uint64 b) {
  static_assert(COLUMNS == 128 || COLUMNS == 256, "128 or 256 columns");
  if constexpr (COLUMNS == 256) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k8.f32.tf32.tf32 {" WGMMA_NAMES_128
                 "}, %128, %129, 1, 1, 1;"
                 : WGMMA_SUMS_128
                 : "l"(a), "l"(b)
                 : "memory");
  } else {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {" WGMMA_NAMES_64
                 "}, %64, %65, 1, 1, 1;"
                 : WGMMA_SUMS_64
                 : "l"(a), "l"(b)
                 : "memory");
  }
}

// The compiler knows the order of these instructions, but not that a wait is what makes sums: no
// use of d may be moved across this.
template <int COUNT>
__device__ __forceinline__ void hold_in_place(float (&d)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(d[i])::"memory");
}

template <int COUNT>
__device__ __forceinline__ void wgmma_fence(float (&d)[COUNT]) {
  hold_in_place(d);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int PENDING>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
template <int PENDING, int COUNT>
__device__ __forceinline__ void wgmma_wait(float (&d)[COUNT]) {
  wgmma_wait<PENDING>();
  hold_in_place(d);
}

// What this thread has written to shared memory by ordinary stores and cp.async, or knows of by a
// barrier, is seen by the tensor cores, which read past the paths that those take.
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

#endif

// Tensor cores, matrix loads and asynchronous copies: thin wrappers of single instructions.
//
// On a GPU each is inline PTX; NVIDIA's "PTX ISA" names the layout of every register. On a CPU the
// emulator computes what the instruction does (tensor_core.h and async_copy.h there).
//
// Architectures: all of it from sm_80 on. On sm_75 the product of halves is two instructions, a
// copy is an ordinary one that is complete at once, and bfloat16 and TF32 stop the kernel: launch
// code must not choose them there.
#pragma once

// Products: a warp adds A B to D, with sums in float. A has 16 rows, B 8 columns; with g = lane / 4
// and t = lane % 4, a lane has
//   of D: d[0] (g, 2t), d[1] (g, 2t + 1), d[2] (g + 8, 2t), d[3] (g + 8, 2t + 1);
//   of A, rows of 16 halves: a[0] (g, 2t and 2t + 1), a[1] (g + 8, the same),
//     a[2] (g, 2t + 8 and 2t + 9), a[3] (g + 8, the same); the first in the lower half of a word;
//   of B, columns of 16 halves: b[0] (2t and 2t + 1, g), b[1] (2t + 8 and 2t + 9, g);
//   of A in TF32, rows of 8: a[0] (g, t), a[1] (g + 8, t), a[2] (g, t + 4), a[3] (g + 8, t + 4);
//   of B in TF32, columns of 8: b[0] (t, g), b[1] (t + 4, g).

#ifdef CUDA_ON_CPU

inline void mma_m16n8k16_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                             CUDA_ON_CPU_HERE) {
  cuda_on_cpu::mma<cuda_on_cpu::HalvesInRegister>("mma_m16n8k16_f16()", d, a, b, place);
}

inline void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                              CUDA_ON_CPU_HERE) {
  cuda_on_cpu::mma<cuda_on_cpu::BrainsInRegister>("mma_m16n8k16_bf16()", d, a, b, place);
}

inline void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                             CUDA_ON_CPU_HERE) {
  cuda_on_cpu::mma<cuda_on_cpu::Tf32InRegister>("mma_m16n8k8_tf32()", d, a, b, place);
}

// Nearest, ties away from zero, to the 10 bits of a fraction that TF32 has. NaN stays NaN.
inline unsigned to_tf32(float x) {
  unsigned bits = __float_as_uint(x);
  return x == x ? (bits + 0x1000u) & 0xffffe000u : bits;
}

inline void ldmatrix_x1(unsigned (&r)[1], const void* row, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::load_matrices<1, false>(r, row, place);
}
inline void ldmatrix_x2(unsigned (&r)[2], const void* row, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::load_matrices<2, false>(r, row, place);
}
inline void ldmatrix_x4(unsigned (&r)[4], const void* row, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::load_matrices<4, false>(r, row, place);
}
inline void ldmatrix_x1_trans(unsigned (&r)[1], const void* row, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::load_matrices<1, true>(r, row, place);
}
inline void ldmatrix_x2_trans(unsigned (&r)[2], const void* row, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::load_matrices<2, true>(r, row, place);
}
inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* row, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::load_matrices<4, true>(r, row, place);
}

inline void cp_async_4(void* shared, const void* global, bool valid = true, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::start_copy(shared, global, 4, !valid, place);
}
inline void cp_async_16(void* shared, const void* global, bool valid = true, CUDA_ON_CPU_HERE) {
  cuda_on_cpu::start_copy(shared, global, 16, !valid, place);
}
inline void cp_async_commit() { cuda_on_cpu::commit_group(); }
template <int PENDING>
inline void cp_async_wait() {
  cuda_on_cpu::deliver_copies(PENDING);
}

#else  // on a GPU

__device__ __forceinline__ unsigned shared_address(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const unsigned (&a)[4],
                                                 const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else  // columns 0 to 7 of A with rows 0 to 7 of B, then the others
#pragma unroll
  for (int half = 0; half < 2; half++) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
  }
#endif
}

__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4],
                                                  const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4],
                                                 const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

__device__ __forceinline__ unsigned to_tf32(float x) {
#if __CUDA_ARCH__ >= 800
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return rounded;
#else
  return __float_as_uint(x);
#endif
}

// ldmatrix: 1, 2 or 4 matrices of 8 x 8 halves from shared memory. Lane l names the address of row
// l % 8 of matrix l / 8, a multiple of 16 bytes; r[i] is then the lane's part of matrix i as the
// products want it: numbers 2t and 2t + 1 of row g, or, transposed, of column g.

__device__ __forceinline__ void ldmatrix_x1(unsigned (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
               : "=r"(r[0])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(unsigned (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x1_trans(unsigned (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
               : "=r"(r[0])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(unsigned (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// cp.async: 4 or 16 bytes from global to shared memory, both addresses aligned to as many; zeros
// where not `valid` (then nothing is read). What was started since the last commit is a group; the
// data are there, for the thread itself, after it waited until at most PENDING groups are under
// way, and for others after a barrier behind that.

__device__ __forceinline__ void cp_async_4(void* shared, const void* global, bool valid = true) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(valid ? 4 : 0)
               : "memory");
#else
  *static_cast<int*>(shared) = valid ? *static_cast<const int*>(global) : 0;
#endif
}

__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid = true) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
#else
  int4 zeros = make_int4(0, 0, 0, 0);
  *static_cast<int4*>(shared) = valid ? *static_cast<const int4*>(global) : zeros;
#endif
}

__device__ __forceinline__ void cp_async_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int PENDING>
__device__ __forceinline__ void cp_async_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

#endif

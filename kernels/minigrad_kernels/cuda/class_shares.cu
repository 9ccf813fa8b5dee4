// What each sample counts in a mean over class numbers of which some are to be skipped.
//
// Definition: T, the type of the shares.
//
// allow: double
#include "half.cuh"
#include "minigrad.cuh"

#define SHARE_THREADS 1024

// shares[i] = 1 / the number of targets that are not negative, or 0 where target[i] is; if there is
// none, NaN everywhere. One block counts them and goes through them again: there are few.
extern "C" __global__ void __launch_bounds__(SHARE_THREADS)
    class_shares(const int64* __restrict__ target, T* __restrict__ shares, int count) {
  int mine = 0;
#pragma unroll 4
  for (int i = threadIdx.x; i < count; i += SHARE_THREADS) mine += target[i] >= 0;
  int counted = block_sum(mine);
  T none = T(counted ? 0.0f : __int_as_float(0x7fffffff));
  T share = counted ? T(1.0 / counted) : none;
#pragma unroll 4
  for (int i = threadIdx.x; i < count; i += SHARE_THREADS) shares[i] = target[i] < 0 ? none : share;
}

// Products of one warp with the wrappers of mma.cuh.
#include "minigrad.cuh"
#include "half.cuh"
#include "mma.cuh"

// d (16 x 8) = a (16 x 16) b, of b its columns as rows (8 x 16): as ldmatrix loads them.
extern "C" __global__ void product_f16(const half* a, const half* b, float* d) {
  __shared__ __align__(16) half as[16][24], bs[8][24];
  int lane = threadIdx.x;
  for (int i = lane; i < 32; i += 32) cp_async_16(&as[i / 2][i % 2 * 8], a + i * 8);
  if (lane < 16) cp_async_16(&bs[lane / 2][lane % 2 * 8], b + lane * 8);
  cp_async_commit();
  cp_async_wait<0>();
  __syncwarp();
  unsigned ra[4], rb[2];
  float sums[4] = {};
  ldmatrix_x4(ra, &as[lane % 16][lane / 16 * 8]);
  ldmatrix_x2(rb, &bs[lane % 8][lane / 8 % 2 * 8]);
  mma_m16n8k16_f16(sums, ra, rb);
  for (int i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

// The same with b as rows (16 x 8), transposed by ldmatrix.
extern "C" __global__ void product_bf16(const bfloat16* a, const bfloat16* b, float* d) {
  __shared__ __align__(16) bfloat16 as[16][16], bs[16][8];
  int lane = threadIdx.x;
  for (int i = lane; i < 256; i += 32) as[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) bs[i / 8][i % 8] = b[i];
  __syncwarp();
  unsigned ra[4], rb[2];
  float sums[4] = {};
  ldmatrix_x4(ra, &as[lane % 16][lane / 16 * 8]);
  ldmatrix_x2_trans(rb, &bs[lane % 16][0]);
  mma_m16n8k16_bf16(sums, ra, rb);
  for (int i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

// d = a (16 x 8) b (8 x 8), rounded to TF32, or cut off as the tensor core does it.
extern "C" __global__ void product_tf32(const float* a, const float* b, float* d, bool rounds) {
  int lane = threadIdx.x, group = lane / 4, member = lane % 4;
  unsigned ra[4], rb[2];
  for (int i = 0; i < 4; i++) {
    float x = a[(group + i % 2 * 8) * 8 + member + i / 2 * 4];
    ra[i] = rounds ? to_tf32(x) : __float_as_uint(x);
  }
  for (int i = 0; i < 2; i++) {
    float x = b[(member + i * 4) * 8 + group];
    rb[i] = rounds ? to_tf32(x) : __float_as_uint(x);
  }
  float sums[4] = {1, 1, 1, 1};
  mma_m16n8k8_tf32(sums, ra, rb);
  for (int i = 0; i < 4; i++) d[(group + i / 2 * 8) * 8 + member * 2 + i % 2] = sums[i] - 1;
}

// Four matrices and their transposes through ldmatrix, as they come to the lanes.
extern "C" __global__ void matrices(const unsigned short* x, unsigned* y) {
  __shared__ __align__(16) unsigned short tile[4][8][8];
  int lane = threadIdx.x;
  for (int i = lane; i < 256; i += 32) tile[i / 64][i / 8 % 8][i % 8] = x[i];
  __syncwarp();
  unsigned r[4], one[1];
  ldmatrix_x4(r, &tile[lane / 8][lane % 8][0]);
  for (int i = 0; i < 4; i++) y[i * 32 + lane] = r[i];
  ldmatrix_x4_trans(r, &tile[lane / 8][lane % 8][0]);
  for (int i = 0; i < 4; i++) y[(4 + i) * 32 + lane] = r[i];
  ldmatrix_x1(one, &tile[3][lane % 8][0]);
  y[8 * 32 + lane] = one[0];
  ldmatrix_x1_trans(one, &tile[3][lane % 8][0]);
  y[9 * 32 + lane] = one[0];
}

// A pipeline of two stages: while one tile is summed up, the next one comes.
extern "C" __global__ void pipeline(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float stage[2][32];
  int lane = threadIdx.x;
  float sum = 0;
  cp_async_4(&stage[0][lane], x + lane);
  cp_async_commit();
  for (int i = 0; i < tiles; i++) {
    bool more = i + 1 < tiles;
    cp_async_4(&stage[(i + 1) % 2][lane], x + (i + 1) * 32 + lane, more);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    sum += stage[i % 2][31 - lane];
    __syncthreads();
  }
  cp_async_wait<0>();
  y[lane] = sum + stage[tiles % 2][lane];  // the last copy was of zeros
}

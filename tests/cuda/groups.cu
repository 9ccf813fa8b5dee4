#include <cooperative_groups.h>

// Sums of the block by cooperative groups: tiles of 8 threads, then what they have left
extern "C" __global__ void groups(const float* x, float* y, int* votes) {
  namespace cg = cooperative_groups;
  __shared__ float sums[16];
  cg::thread_block block = cg::this_thread_block();
  auto warp = cg::tiled_partition<32>(block);
  cg::thread_block_tile<8> tile = cg::tiled_partition<8>(warp);
  float sum = x[block.thread_rank()];
  for (int bits = tile.size() / 2; bits > 0; bits /= 2) sum += tile.shfl_xor(sum, bits);
  if (tile.thread_rank() == 0) sums[block.thread_rank() / 8] = sum;
  block.sync();
  if (block.thread_rank() == 0) {
    for (int i = 1; i < block.size() / 8; i++) sums[0] += sums[i];
  }
  cg::sync(block);
  y[block.thread_rank()] = sums[0];
  votes[block.thread_rank()] = tile.ballot(block.thread_rank() % 2) + 1000 * warp.shfl(sum, 9);
  warp.sync();
}

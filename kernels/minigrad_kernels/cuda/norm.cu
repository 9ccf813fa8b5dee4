// Batch norm and its gradients: channels of a batch, seen as include/channels.cuh says, so that the
// same kernels do for images whose channels are planes and for images whose channels come last.
//
// Memory is what takes the time. Forward, x is read twice and y written once: the mean and the
// variance take one pass (see include/moments.cuh), the result another. Backward, g and x are read
// twice. With few channels, several blocks share one: they leave what they found in small arrays,
// (channels, parts), and a warp for each channel puts that together, in a fixed order.
//
// Definitions: T, the type of the numbers; TOTAL, the type that they are summed in, that of mean
// and variance; WIDTH, how many numbers a load has; LAYOUT, a class of channels.cuh.
//
// expect: registers <= 80
#include "channels.cuh"
#include "moments.cuh"
#include "store.cuh"
#include "half.cuh"

using Total = TOTAL;
using Numbers = Pack<T, WIDTH>;
constexpr int OWN = LAYOUT::OWN;

// Statistics

// What a thread knows of its channels: it absorbs all numbers of up to four loads at once.
struct Statistics {
  const T* x;
  Moments<Total> of[OWN];

  template <int LOADS>
  __device__ __forceinline__ void operator()(const int64 (&at)[LOADS]) {
    Numbers packs[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) packs[i] = load_pack<WIDTH>(x + at[i]);
    constexpr int EACH = LOADS * WIDTH / OWN;
    Total share = of[0].share(EACH);  // the same for all of them
#pragma unroll
    for (int own = 0; own < OWN; own++) {
      Total numbers[EACH];
#pragma unroll
      for (int i = 0; i < EACH; i++) {
        numbers[i] = Total(OWN == 1 ? packs[i / WIDTH].at[i % WIDTH] : packs[i].at[own]);
      }
      of[own].absorb(numbers, share);
    }
  }
};

// The mean and the variance of each channel. If channels are cut in parts: the count, the mean and
// the squared deviations of each part. A team, or a column of threads, has a part of a channel.
//
// expect: LDG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(LAYOUT::BLOCK, 3)
    channel_moments(const T* __restrict__ x, TOTAL* __restrict__ counts, TOTAL* __restrict__ means,
                    TOTAL* __restrict__ squares, int64 rows, int64 channels, int64 inner,
                    int64 outputs, int64 parts) {
  LAYOUT way(rows, channels, inner, outputs, parts);
  Statistics found = {x, {}};
  way.visit(found);
#pragma unroll
  for (int j = 0; j < OWN; j++) {
    Moments<Total> all = team_moments<LAYOUT>(found.of[j]);
    if (!way.leads()) continue;
    int64 place = way.output(j) * parts + way.part();
    means[place] = all.mean;
    squares[place] = parts == 1 ? about(all.squares, all.count) : all.squares;
    if (parts > 1) counts[place] = all.count;
  }
}

// The mean and the variance of each channel from those of its parts. A warp has a channel.
extern "C" __global__ void __launch_bounds__(128)
    join_moments(const TOTAL* __restrict__ counts, const TOTAL* __restrict__ means,
                 const TOTAL* __restrict__ squares, TOTAL* __restrict__ mean,
                 TOTAL* __restrict__ var, int64 channels, int64 parts) {
  using Warp = Lanes<32>;
  int64 channel = Warp::number();
  if (channel >= channels) return;  // a whole warp
  Moments<Total> own;
  for (int64 i = channel * parts + Warp::member(); i < (channel + 1) * parts; i += Warp::SIZE) {
    if (counts[i] > 0) own.merge(counts[i], means[i], squares[i], own.share(counts[i]));
  }
  Moments<Total> all = team_moments<Warp>(own);
  if (Warp::member() == 0) {
    mean[channel] = all.mean;
    var[channel] = about(all.squares, all.count);
  }
}

// The result

__device__ __forceinline__ Total reciprocal_deviation(Total var, Total eps) {
  return reciprocal_root(var + eps);
}

// y = (x - mean) * scale + shift
struct Normalized {
  const T* x;
  T* y;
  Total mean[OWN], scale[OWN], shift[OWN];

  template <int LOADS>
  __device__ __forceinline__ void operator()(const int64 (&at)[LOADS]) {
    Numbers packs[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) packs[i] = load_pack<WIDTH>(x + at[i]);
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
#pragma unroll
      for (int j = 0; j < WIDTH; j++) {
        int own = LAYOUT::own(j);
        packs[i].at[j] = T((Total(packs[i].at[j]) - mean[own]) * scale[own] + shift[own]);
      }
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) store_whole<WIDTH>(y + at[i], packs[i]);
  }
};

// y = (x - mean) / sqrt(var + eps) * weight + bias. A team has a plane, which is an output here, or
// a column of threads some rows: output o is of channel o % all_channels. y may be x.
//
// expect: LDG.128 STG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(LAYOUT::BLOCK)
    normalize_channels(const T* x, T* y, const TOTAL* __restrict__ mean,
                       const TOTAL* __restrict__ var, const T* __restrict__ weight,
                       const T* __restrict__ bias, TOTAL eps, int64 all_channels, int64 rows,
                       int64 channels, int64 inner, int64 outputs, int64 parts) {
  LAYOUT way(rows, channels, inner, outputs, parts);
  if (!way.has_output()) return;
  Normalized result = {x, y, {}, {}, {}};
#pragma unroll
  for (int j = 0; j < OWN; j++) {
    int64 channel = remainder(way.output(j), all_channels);
    result.mean[j] = mean[channel];
    result.scale[j] = reciprocal_deviation(var[channel], eps);
    if (weight) result.scale[j] *= Total(weight[channel]);
    result.shift[j] = bias ? Total(bias[channel]) : Total(0);
  }
  way.visit(result);
}

// Gradients

// The sums of g, and of g times the deviation from the mean.
struct GradientSums {
  const T *g, *x;
  Total mean[OWN], of_g[OWN], of_products[OWN];

  template <int LOADS>
  __device__ __forceinline__ void operator()(const int64 (&at)[LOADS]) {
    Numbers gs[LOADS], xs[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      gs[i] = load_pack<WIDTH>(g + at[i]);
      xs[i] = load_pack<WIDTH>(x + at[i]);
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
#pragma unroll
      for (int j = 0; j < WIDTH; j++) {
        int own = LAYOUT::own(j);
        of_g[own] += Total(gs[i].at[j]);
        of_products[own] += Total(gs[i].at[j]) * (Total(xs[i].at[j]) - mean[own]);
      }
    }
  }
};

// These sums for each part of a channel, which a team, or a column of threads, has.
//
// expect: LDG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(LAYOUT::BLOCK)
    channel_gradient_sums(const T* __restrict__ g, const T* __restrict__ x,
                          const TOTAL* __restrict__ mean, TOTAL* __restrict__ sums_of_g,
                          TOTAL* __restrict__ sums_of_products, int64 rows, int64 channels,
                          int64 inner, int64 outputs, int64 parts) {
  LAYOUT way(rows, channels, inner, outputs, parts);
  GradientSums sums = {g, x, {}, {}, {}};
#pragma unroll
  for (int j = 0; j < OWN; j++) sums.mean[j] = way.has_output() ? mean[way.output(j)] : Total(0);
  way.visit(sums);
#pragma unroll
  for (int j = 0; j < OWN; j++) {
    Total of_g = team_sum<LAYOUT>(sums.of_g[j]);
    Total of_products = team_sum<LAYOUT>(sums.of_products[j]);
    if (!way.leads()) continue;
    int64 place = way.output(j) * parts + way.part();
    sums_of_g[place] = of_g;
    sums_of_products[place] = of_products;
  }
}

// The sums of the channels from those of their parts, and the gradients of weight and bias, of
// which either may be missing. A warp has a channel.
extern "C" __global__ void __launch_bounds__(128)
    join_gradient_sums(const TOTAL* __restrict__ parts_of_g,
                       const TOTAL* __restrict__ parts_of_products, const TOTAL* __restrict__ var,
                       TOTAL* __restrict__ sums_of_g, TOTAL* __restrict__ sums_of_products,
                       T* __restrict__ dw, T* __restrict__ db, TOTAL eps, int64 channels,
                       int64 parts) {
  using Warp = Lanes<32>;
  int64 channel = Warp::number();
  if (channel >= channels) return;  // a whole warp
  Total of_g = 0, of_products = 0;
  for (int64 i = channel * parts + Warp::member(); i < (channel + 1) * parts; i += Warp::SIZE) {
    of_g += parts_of_g[i];
    of_products += parts_of_products[i];
  }
  of_g = team_sum<Warp>(of_g);
  of_products = team_sum<Warp>(of_products);
  if (Warp::member() > 0) return;
  sums_of_g[channel] = of_g;
  sums_of_products[channel] = of_products;
  if (dw) dw[channel] = T(of_products * reciprocal_deviation(var[channel], eps));
  if (db) db[channel] = T(of_g);
}

// dx = (g - mean_of_g - (x - mean) * slope) * scale
struct InputGradient {
  const T *g, *x;
  T* dx;
  Total mean[OWN], mean_of_g[OWN], slope[OWN], scale[OWN];

  template <int LOADS>
  __device__ __forceinline__ void operator()(const int64 (&at)[LOADS]) {
    Numbers gs[LOADS], xs[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      gs[i] = load_pack<WIDTH>(g + at[i]);
      xs[i] = load_pack<WIDTH>(x + at[i]);
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
#pragma unroll
      for (int j = 0; j < WIDTH; j++) {
        int own = LAYOUT::own(j);
        Total projection = (Total(xs[i].at[j]) - mean[own]) * slope[own];
        gs[i].at[j] = T((Total(gs[i].at[j]) - mean_of_g[own] - projection) * scale[own]);
      }
    }
#pragma unroll
    for (int i = 0; i < LOADS; i++) store_whole<WIDTH>(dx + at[i], gs[i]);
  }
};

// dx = weight (g - mean(g) - x^ mean(g x^)) / s, where s is the standard deviation and x^ = (x -
// mean) / s. Outputs and their channels are as in normalize_channels; `share` is that of a number
// in its channel, one by how many it has. dx may be g or x.
//
// expect: LDG.128 STG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(LAYOUT::BLOCK)
    channel_input_gradient(const T* g, const T* x, T* dx, const TOTAL* __restrict__ mean,
                           const TOTAL* __restrict__ var, const T* __restrict__ weight,
                           const TOTAL* __restrict__ sums_of_g,
                           const TOTAL* __restrict__ sums_of_products, TOTAL eps,
                           TOTAL share, int64 all_channels, int64 rows, int64 channels, int64 inner,
                           int64 outputs, int64 parts) {
  LAYOUT way(rows, channels, inner, outputs, parts);
  if (!way.has_output()) return;
  InputGradient result = {g, x, dx, {}, {}, {}, {}};
#pragma unroll
  for (int j = 0; j < OWN; j++) {
    int64 channel = remainder(way.output(j), all_channels);
    Total scale = reciprocal_deviation(var[channel], eps);
    result.mean[j] = mean[channel];
    result.mean_of_g[j] = sums_of_g[channel] * share;
    result.slope[j] = sums_of_products[channel] * scale * share * scale;
    result.scale[j] = weight ? scale * Total(weight[channel]) : scale;
  }
  way.visit(result);
}

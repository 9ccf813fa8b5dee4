// The mean and the squared deviations of numbers that come one after the other.
//
// A sum of squares less the square of the sum cancels where the mean is large. Here deviations are
// from a mean throughout: a few numbers at a time, whose own mean is subtracted in registers, are
// merged with what came before (Chan, Golub and LeVeque, "Updating formulae and a pairwise
// algorithm for computing sample variances", 1979). So memory is read once, where two passes would
// read twice.
#pragma once
#include "team.cuh"

template <class Value>
struct Moments {
  Value count = 0, mean = 0, squares = 0;  // squares: the sum of (x - mean)^2

  // Merge with those of other numbers, which are a given share of all.
  __device__ __forceinline__ void merge(Value other_count, Value other_mean, Value other_squares,
                                        Value share) {
    Value distance = other_mean - mean;
    mean += distance * share;
    // In this order: of the first numbers 0, also where the square of the distance would overflow.
    squares += other_squares + distance * (distance * (count * share));
    count += other_count;
  }

  // The share of so many numbers that are yet to come.
  __device__ __forceinline__ Value share(Value coming) const {
    return about(coming, count + coming);
  }

  template <int COUNT>
  __device__ __forceinline__ void absorb(const Value (&x)[COUNT], Value share) {
    Value sum = 0, deviations = 0;
#pragma unroll
    for (int i = 0; i < COUNT; i++) sum += x[i];
    Value middle = sum * (Value(1) / COUNT);
#pragma unroll
    for (int i = 0; i < COUNT; i++) deviations += (x[i] - middle) * (x[i] - middle);
    merge(COUNT, middle, deviations, share);
  }
};

// Those of all members together, in every member. Their mean comes first, so that each can say how
// far its own lies from it.
template <class Team, class Value>
__device__ __forceinline__ Moments<Value> team_moments(const Moments<Value>& own) {
  Moments<Value> all;
  all.count = team_sum<Team>(own.count);
  all.mean = about(team_sum<Team>(own.count * own.mean), all.count);
  Value distance = own.mean - all.mean;
  Value squares = own.count > 0 ? own.squares + own.count * distance * distance : Value(0);
  all.squares = team_sum<Team>(squares);
  return all;
}

// The functions that half and bfloat16 both have.
#pragma once

// What both have, of one number and of two

#define CUDA_ON_CPU_SMALL(Number, Two)                                                         \
  inline Number __hadd(Number a, Number b) { return a + b; }                                   \
  inline Number __hsub(Number a, Number b) { return a - b; }                                   \
  inline Number __hmul(Number a, Number b) { return a * b; }                                   \
  inline Number __hdiv(Number a, Number b) { return a / b; }                                   \
  inline Number __hneg(Number a) { return -a; }                                                \
  inline Number __habs(Number a) { return fabsf(a); }                                          \
  inline Number __hmax(Number a, Number b) { return fmaxf(a, b); }                             \
  inline Number __hmin(Number a, Number b) { return fminf(a, b); }                             \
  inline Number __hfma(Number a, Number b, Number c) { return fmaf(a, b, c); } \
  inline bool __hisnan(Number a) { return std::isnan(float(a)); }                              \
  inline bool __heq(Number a, Number b) { return a == b; }                                     \
  inline bool __hne(Number a, Number b) { return a != b; }                                     \
  inline bool __hlt(Number a, Number b) { return a < b; }                                      \
  inline bool __hle(Number a, Number b) { return a <= b; }                                     \
  inline bool __hgt(Number a, Number b) { return a > b; }                                      \
  inline bool __hge(Number a, Number b) { return a >= b; }                                     \
  inline Number hexp(Number a) { return expf(a); }                                             \
  inline Number hlog(Number a) { return logf(a); }                                             \
  inline Number hsqrt(Number a) { return sqrtf(a); }                                           \
  inline Number hrsqrt(Number a) { return rsqrtf(a); }                                         \
  inline Number htanh(Number a) { return tanhf(a); }                                           \
  inline Two __hadd2(Two a, Two b) { return a + b; }                                           \
  inline Two __hsub2(Two a, Two b) { return a - b; }                                           \
  inline Two __hmul2(Two a, Two b) { return a * b; }                                           \
  inline Two __hfma2(Two a, Two b, Two c) {                                                    \
    return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};                                     \
  }                                                                                            \
  inline Two __hmax2(Two a, Two b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }            \
  inline Two __hmin2(Two a, Two b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }

// CUDA's built-in types: dim3 and vectors of two, three and four numbers.
#pragma once

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 all) : x(all.x), y(all.y), z(all.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

// Vectors of two and four are aligned as a whole, for one load or store, up to 16 bytes.
#define CUDA_ON_CPU_VECTORS_2_4(Element, name, name4_alignment)                             \
  struct alignas(2 * sizeof(Element)) name##2 {                                             \
    Element x, y;                                                                           \
  };                                                                                        \
  struct alignas(name4_alignment) name##4 {                                                 \
    Element x, y, z, w;                                                                     \
  };                                                                                        \
  inline name##2 make_##name##2(Element x, Element y) { return {x, y}; }                    \
  inline name##4 make_##name##4(Element x, Element y, Element z, Element w) {               \
    return {x, y, z, w};                                                                    \
  }
#define CUDA_ON_CPU_VECTORS_1_3(Element, name)                                              \
  struct name##1 {                                                                          \
    Element x;                                                                              \
  };                                                                                        \
  struct name##3 {                                                                          \
    Element x, y, z;                                                                        \
  };                                                                                        \
  inline name##1 make_##name##1(Element x) { return {x}; }                                  \
  inline name##3 make_##name##3(Element x, Element y, Element z) { return {x, y, z}; }

#define CUDA_ON_CPU_VECTORS(Element, name, name4_alignment)                                 \
  CUDA_ON_CPU_VECTORS_2_4(Element, name, name4_alignment)                                   \
  CUDA_ON_CPU_VECTORS_1_3(Element, name)

CUDA_ON_CPU_VECTORS(signed char, char, 4)
CUDA_ON_CPU_VECTORS(unsigned char, uchar, 4)
CUDA_ON_CPU_VECTORS(short, short, 8)
CUDA_ON_CPU_VECTORS(unsigned short, ushort, 8)
CUDA_ON_CPU_VECTORS(int, int, 16)
CUDA_ON_CPU_VECTORS(long, long, 16)
CUDA_ON_CPU_VECTORS(unsigned long, ulong, 16)
CUDA_ON_CPU_VECTORS(long long, longlong, 16)
CUDA_ON_CPU_VECTORS(unsigned long long, ulonglong, 16)
CUDA_ON_CPU_VECTORS(float, float, 16)
CUDA_ON_CPU_VECTORS(double, double, 16)
CUDA_ON_CPU_VECTORS_2_4(unsigned, uint, 16)
struct uint1 {
  unsigned x;
};
inline uint1 make_uint1(unsigned x) { return {x}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

namespace cuda_on_cpu {

// The same bits as a value of another type of the same size.
template <class To, class From>
inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "both types must have the same size");
  To to;
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}

// A place in the sources. As a default argument, `Place::here()` is where the function is called.
struct Place {
  const char* file;
  int line;

  static constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }

  bool operator==(const Place& other) const {
    return line == other.line && (file == other.file || !__builtin_strcmp(file, other.file));
  }
};

}  // namespace cuda_on_cpu

// Element types of the recurrences' tensors, and how they travel between memory and the fp32 arithmetic.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define DEPLOYREC_HD __host__ __device__ __forceinline__
#else
#define DEPLOYREC_HD inline
#endif

#if defined(__CUDA_ARCH__)
#define DEPLOYREC_UNROLL _Pragma("unroll")
#define DEPLOYREC_NO_UNROLL _Pragma("unroll 1")
#else
#define DEPLOYREC_UNROLL
#define DEPLOYREC_NO_UNROLL
#endif

namespace deployrec {

enum class ElementType : int32_t { kFloat32, kFloat16, kBFloat16 };

using Float16 = __half;
using BFloat16 = __nv_bfloat16;

DEPLOYREC_HD float to_float(float value) { return value; }
DEPLOYREC_HD float to_float(Float16 value) { return __half2float(value); }
DEPLOYREC_HD float to_float(BFloat16 value) { return __bfloat162float(value); }

template <class Element>
DEPLOYREC_HD Element from_float(float value);
template <>
DEPLOYREC_HD float from_float<float>(float value) {
  return value;
}
template <>
DEPLOYREC_HD Float16 from_float<Float16>(float value) {
  return __float2half_rn(value);
}
template <>
DEPLOYREC_HD BFloat16 from_float<BFloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// kWidth neighbours that one memory instruction moves; its address must be a multiple of its size.
template <class Element, int kWidth>
struct alignas(sizeof(Element) * kWidth) Pack {
  Element lane[kWidth];
};

// Neighbours in one 16-byte access, the widest a thread can make.
template <class Element>
constexpr int kFullWidth = static_cast<int>(16 / sizeof(Element));

// Every value of a sequence is read once and written once: streaming accesses leave the cache to what is reused.
template <class Element, int kWidth>
DEPLOYREC_HD Pack<Element, kWidth> load_streaming(const Element* address) {
  Pack<Element, kWidth> pack;
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(pack) == 16) {
    const uint4 raw = __ldcs(reinterpret_cast<const uint4*>(address));
    memcpy(&pack, &raw, sizeof(raw));
  } else
#endif
  {
    DEPLOYREC_UNROLL
    for (int i = 0; i < kWidth; ++i) pack.lane[i] = address[i];
  }
  return pack;
}

template <class Element, int kWidth>
DEPLOYREC_HD void store_streaming(Element* address, const Pack<Element, kWidth>& pack) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(pack) == 16) {
    uint4 raw;
    memcpy(&raw, &pack, sizeof(raw));
    __stcs(reinterpret_cast<uint4*>(address), raw);
  } else
#endif
  {
    DEPLOYREC_UNROLL
    for (int i = 0; i < kWidth; ++i) address[i] = pack.lane[i];
  }
}

inline bool is_aligned(const void* address, size_t bytes) { return reinterpret_cast<uintptr_t>(address) % bytes == 0; }

// Calls function(Element{}) with the C++ type that `type` names.
template <class Function>
auto with_element(ElementType type, Function function) {
  if (type == ElementType::kFloat16) return function(Float16{});
  if (type == ElementType::kBFloat16) return function(BFloat16{});
  return function(float{});
}

}  // namespace deployrec

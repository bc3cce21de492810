// float16 as states are stored in it: 16 bits, rounded to the nearest even.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#define DEPLOYREC_ANYWHERE __host__ __device__ __forceinline__
#else
#define DEPLOYREC_ANYWHERE inline
#endif

namespace deployrec {

using Half = uint16_t;

inline float host_half_to_float(Half half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fU, fraction = half & 0x3ffU;
  uint32_t bits = sign | ((exponent + 112) << 23) | (fraction << 13);
  if (exponent == 0x1f) bits = sign | 0x7f800000U | (fraction << 13);
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  if (exponent != 0) return value;
  const float subnormal = static_cast<float>(fraction) * 0x1p-24F;
  return sign != 0 ? -subnormal : subnormal;
}

inline Half host_float_to_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const auto sign = static_cast<Half>((bits >> 16) & 0x8000U);
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return sign | 0x7e00U;   // no number
  if (magnitude >= 0x477ff000U) return sign | 0x7c00U;  // rounds beyond 65,504
  if (magnitude < 0x38800000U) {                        // below the smallest normal: a multiple of 2^-24
    float scaled;
    std::memcpy(&scaled, &magnitude, sizeof(scaled));
    // Adding 2^23 / 2^24 rounds to a multiple of 2^-24 to the nearest even.
    scaled += 0.5F;
    uint32_t rounded;
    std::memcpy(&rounded, &scaled, sizeof(rounded));
    return sign | static_cast<Half>(rounded - 0x3f000000U);
  }
  const uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
  return sign | static_cast<Half>((rounded - 0x38000000U) >> 13);
}

DEPLOYREC_ANYWHERE float half_to_float(Half half) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(half));
#else
  return host_half_to_float(half);
#endif
}

DEPLOYREC_ANYWHERE Half float_to_half(float value) {
#if defined(__CUDA_ARCH__)
  return __half_as_ushort(__float2half_rn(value));
#else
  return host_float_to_half(value);
#endif
}

}  // namespace deployrec

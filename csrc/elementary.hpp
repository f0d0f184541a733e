// log and exp from +, -, *, / alone: libm's differ between machines with and without fused multiply-add.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "portable.hpp"

namespace pyasmg {

template <class To, class From>
PYASMG_HD To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

// ln(u) for normal u > 0: u = 2^k m with m in [sqrt(1/2), sqrt(2)), s = (m - 1) / (m + 1),
// ln(m) = 2 atanh(s) = 2 s (1 + s^2 q(s^2)); q is a minimax polynomial (error below a quarter ulp of the result).
PYASMG_HD float log_positive(float u) {
    const std::int32_t bits = bit_cast<std::int32_t>(u) - 0x3f3504f3;  // bits of sqrt(1/2)
    const std::int32_t exponent = bits >> 23;
    const float m = bit_cast<float>((bits & 0x007fffff) + 0x3f3504f3);
    const float s = (m - 1.0f) / (m + 1.0f);
    const float z = s * s;
    const float q = 0.33333342522578014f + z * (0.19994389141081404f + z * 0.14790026521594221f);
    const float twice = s + s;
    return static_cast<float>(exponent) * 0.69314718055994531f + (twice + twice * (z * q));
}

PYASMG_HD double log_positive(double u) {
    const std::int64_t bits = bit_cast<std::int64_t>(u) - 0x3fe6a09e667f3bcdLL;  // bits of sqrt(1/2)
    const auto exponent =
        static_cast<std::int32_t>(static_cast<std::int32_t>(static_cast<std::uint64_t>(bits) >> 32) >> 20);
    const double m = bit_cast<double>((bits & 0x000fffffffffffffLL) + 0x3fe6a09e667f3bcdLL);
    const double s = (m - 1.0) / (m + 1.0);
    const double z = s * s;
    double q = 0.073082927124443109947;
    q = 0.07665855309105385784 + z * q;
    q = 0.090914447278374730193 + z * q;
    q = 0.11111105565129938515 + z * q;
    q = 0.14285714313001634371 + z * q;
    q = 0.19999999999949721617 + z * q;
    q = 0.33333333333333348442 + z * q;
    const double twice = s + s;
    return static_cast<double>(exponent) * 0.69314718055994530942 + (twice + twice * (z * q));
}

// exp(r) for |r| <= ln 2: halved once, then a minimax polynomial.
PYASMG_HD double exp_small(double r) {
    const double x = 0.5 * r;
    double p = 2.5100385495510319078e-8;
    p = 2.7620088445409748161e-7 + x * p;
    p = 2.7557268459997064772e-6 + x * p;
    p = 0.000024801521295954375131 + x * p;
    p = 0.00019841269863053616878 + x * p;
    p = 0.0013888888917213716901 + x * p;
    p = 0.0083333333333300618325 + x * p;
    p = 0.041666666666624127873 + x * p;
    p = 0.16666666666666667453 + x * p;
    p = 0.50000000000000010221 + x * p;
    const double half = 1.0 + (x + x * x * p);
    return half * half;
}

// exp(x), x held within [-700, 700].
PYASMG_HD double exp_bounded(double x) {
    x = x < 700.0 ? x : 700.0;
    x = x > -700.0 ? x : -700.0;
    const double k = std::floor(x * 1.4426950408889634074 + 0.5);
    const double r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;
    return std::ldexp(exp_small(r), static_cast<int>(k));
}

}  // namespace pyasmg

// numpy's generator PCG64 (O'Neill, 2014: XSL-RR 128/64), so that a kernel draws the same numbers from the same state.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "portable.hpp"

namespace pyasmg {

__extension__ typedef unsigned __int128 UInt128;

inline constexpr UInt128 kPcgMultiplier = (static_cast<UInt128>(2549297995355413924u) << 64) + 4865540595714422341u;

// What numpy keeps in `bit_generator.state`: a 64-bit number is spent in halves, the lower one first.
struct Pcg64 {
    UInt128 state;
    UInt128 increment;
    bool has_half;
    std::uint32_t half;
};

PYASMG_HD std::uint64_t pcg_output(UInt128 state) {
    const auto high = static_cast<std::uint64_t>(state >> 64);
    const std::uint64_t mixed = high ^ static_cast<std::uint64_t>(state);
    const unsigned turn = static_cast<unsigned>(high >> 58);
    return (mixed >> turn) | (mixed << (-turn & 63u));
}

// A number of [0, 1) on a grid of 2^-24: what Generator.random(dtype=float32) makes of 32 bits.
PYASMG_HD float unit_float(std::uint32_t bits) {
    return static_cast<float>(static_cast<std::int32_t>(bits >> 8)) * 0x1p-24f;
}

// Draws n times 32 bits.
PYASMG_HD void fill_bits(Pcg64& generator, std::size_t n, std::uint32_t* PYASMG_RESTRICT out) {
    std::size_t i = 0;
    if (n > 0 && generator.has_half) {
        out[i++] = generator.half;
        generator.has_half = false;
    }
    // Lanes that are `kLanes` steps apart do not wait for one another.
    constexpr std::size_t kLanes = 4;
    UInt128 multiplier = 1, increment = 0, lanes[kLanes];
    UInt128 state = generator.state;
    for (std::size_t l = 0; l < kLanes; ++l) {
        state = state * kPcgMultiplier + generator.increment;
        lanes[l] = state;
        increment = increment * kPcgMultiplier + generator.increment;
        multiplier *= kPcgMultiplier;
    }
    UInt128 last = generator.state;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
        last = lanes[kLanes - 1];
        for (std::size_t l = 0; l < kLanes; ++l) {
            const std::uint64_t bits = pcg_output(lanes[l]);
            out[i + 2 * l] = static_cast<std::uint32_t>(bits);
            out[i + 2 * l + 1] = static_cast<std::uint32_t>(bits >> 32);
            lanes[l] = lanes[l] * multiplier + increment;
        }
    }
    if (last != generator.state) {
        generator.state = last;
        generator.half = out[i - 1];
    }
    for (; i < n; ++i) {
        if (generator.has_half) {
            out[i] = generator.half;
            generator.has_half = false;
            continue;
        }
        generator.state = generator.state * kPcgMultiplier + generator.increment;
        const std::uint64_t bits = pcg_output(generator.state);
        out[i] = static_cast<std::uint32_t>(bits);
        generator.half = static_cast<std::uint32_t>(bits >> 32);
        generator.has_half = true;
    }
}

// The generator as numbers of 64 bits: state and increment in halves, the upper one first, has_half and half.
using Pcg64Words = std::array<std::uint64_t, 6>;

inline Pcg64 pcg64_from(const Pcg64Words& words) {
    return {(static_cast<UInt128>(words[0]) << 64) + words[1], (static_cast<UInt128>(words[2]) << 64) + words[3],
            words[4] != 0, static_cast<std::uint32_t>(words[5])};
}

inline Pcg64Words pcg64_words(const Pcg64& generator) {
    return {static_cast<std::uint64_t>(generator.state >> 64),
            static_cast<std::uint64_t>(generator.state),
            static_cast<std::uint64_t>(generator.increment >> 64),
            static_cast<std::uint64_t>(generator.increment),
            generator.has_half ? std::uint64_t{1} : 0,
            generator.half};
}

}  // namespace pyasmg

#include "unwrap/bitmap.h"

#include <algorithm>

namespace ovoxel::unwrap {
namespace {

// out[i] = in shifted towards lower bits by `shift`, for words [lo, hi); bits beyond the end are zero.
inline void shiftDown(const uint64_t* in, int32_t words, int32_t shift, int32_t lo, int32_t hi, uint64_t* out) {
    const int32_t skip = shift >> 6, s = shift & 63, inner = std::min(hi, words - skip - 1);
    const uint64_t* from = in + skip;
    int32_t i = lo;
    if (s == 0) {
        for (; i < inner; ++i) out[i] = from[i];
    } else {
        for (; i < inner; ++i) out[i] = from[i] >> s | from[i + 1] << (64 - s);
    }
    for (; i < hi; ++i) out[i] = i + skip < words ? from[i] >> s : 0;
}

// bits[i] |= bits shifted towards lower bits, in place: what lies ahead is read before it is written.
inline void smearDown(uint64_t* bits, int32_t words, int32_t shift, int32_t lo, int32_t hi) {
    const int32_t skip = shift >> 6, s = shift & 63, inner = std::min(hi, words - skip - 1);
    const uint64_t* from = bits + skip;
    int32_t i = lo;
    if (s == 0) {
        for (; i < inner; ++i) bits[i] |= from[i];
    } else {
        for (; i < inner; ++i) bits[i] |= from[i] >> s | from[i + 1] << (64 - s);
    }
    for (; i < hi && i + skip < words; ++i) bits[i] |= from[i] >> s;
}

// 64 x 64 bits: bit j of word k to bit k of word j. H. Warren, Hacker's Delight, 7-3.
void transpose(uint64_t* m) {
    uint64_t mask = 0x00000000FFFFFFFFull;
    for (int j = 32; j != 0; j >>= 1, mask ^= mask << j) {
        for (int k = 0; k < 64; k = ((k | j) + 1) & ~j) {
            const uint64_t t = (m[k] >> j ^ m[k | j]) & mask;
            m[k] ^= t << j;
            m[k | j] ^= t;
        }
    }
}

}  // namespace

int64_t Bitmap::count() const {
    int64_t sum = 0;
    for (uint64_t w : bits) sum += __builtin_popcountll(w);
    return sum;
}

Bitmap Bitmap::dilated(int32_t radius) const {
    Bitmap wide(width, height), out(width, height);
    if (radius <= 0) return *this;
    const uint64_t tail = width & 63 ? ~uint64_t{0} >> (64 - (width & 63)) : ~uint64_t{0};
    for (int32_t y = 0; y < height; ++y) {
        std::vector<uint64_t> r(row(y), row(y) + words), t(words);
        for (int32_t have = 0; have < radius;) {  // reach `have` to both sides, growing by doubling
            const int32_t step = std::min(radius - have, std::min(2 * have + 1, 63));
            for (int32_t i = 0; i < words; ++i) {
                const uint64_t up = r[i] << step | (i ? r[i - 1] >> (64 - step) : 0);
                const uint64_t down = r[i] >> step | (i + 1 < words ? r[i + 1] << (64 - step) : 0);
                t[i] = r[i] | up | down;
            }
            r.swap(t);
            have += step;
        }
        r[words - 1] &= tail;
        std::copy(r.begin(), r.end(), wide.row(y));
    }
    for (int32_t y = 0; y < height; ++y) {
        for (int32_t k = std::max(0, y - radius); k <= std::min(height - 1, y + radius); ++k) {
            for (int32_t i = 0; i < words; ++i) out.row(y)[i] |= wide.row(k)[i];
        }
    }
    return out;
}

void halveRow(const Bitmap& fine, int32_t y, int32_t from, int32_t to, uint64_t* out) {
    const uint64_t *a = fine.row(2 * y), *b = 2 * y + 1 < fine.height ? fine.row(2 * y + 1) : a;
    for (int32_t word = from; word <= to; ++word) {
        for (int32_t i = 2 * word; i < std::min(2 * word + 2, fine.words); ++i) {
            uint64_t w = a[i] | b[i];
            w = (w | w >> 1) & 0x5555555555555555ull;  // pairs, then the even bits together
            w = (w | w >> 1) & 0x3333333333333333ull;
            w = (w | w >> 2) & 0x0F0F0F0F0F0F0F0Full;
            w = (w | w >> 4) & 0x00FF00FF00FF00FFull;
            w = (w | w >> 8) & 0x0000FFFF0000FFFFull;
            w = (w | w >> 16) & 0x00000000FFFFFFFFull;
            out[word] |= w << (32 * (i & 1));
        }
    }
}

Bitmap Bitmap::halved() const {
    Bitmap out((width + 1) / 2, (height + 1) / 2);
    for (int32_t y = 0; y < out.height; ++y) halveRow(*this, y, 0, out.words - 1, out.row(y));
    return out;
}

Bitmap Bitmap::turned() const {
    Bitmap out(height, width);
    for (int32_t block = 0; block < out.words; ++block) {
        for (int32_t i = 0; i < words; ++i) {
            uint64_t m[64];
            for (int32_t k = 0; k < 64; ++k) {
                const int32_t y = height - 1 - (64 * block + k);
                m[k] = y >= 0 ? row(y)[i] : 0;
            }
            transpose(m);
            for (int32_t k = 0; k < std::min(64, width - 64 * i); ++k) out.row(64 * i + k)[block] = m[k];
        }
    }
    return out;
}

void Bitmap::add(const Bitmap& other, int32_t x, int32_t y) {
    const int32_t skip = x >> 6, s = x & 63;
    for (int32_t k = 0; k < other.height; ++k) {
        uint64_t* to = row(y + k) + skip;
        const uint64_t* from = other.row(k);
        for (int32_t i = 0; i < other.words; ++i) {
            if (!from[i]) continue;
            to[i] |= from[i] << s;
            if (s && from[i] >> (64 - s)) to[i + 1] |= from[i] >> (64 - s);
        }
    }
}

Runs::Runs(const Bitmap& map) : width(map.width), height(map.height) {
    for (int32_t y = 0; y < map.height; ++y) {
        int32_t start = -1;
        for (int32_t x = 0; x < map.width; ++x) {
            const uint64_t word = map.row(y)[x >> 6];
            if ((x & 63) == 0 && (word == 0 || word == ~uint64_t{0}) && x + 64 <= map.width) {  // whole words at once
                if (word == 0 && start >= 0) runs.push_back({y, start, x - start}), start = -1;
                if (word != 0 && start < 0) start = x;
                x += 63;
                continue;
            }
            const bool on = word >> (x & 63) & 1;
            if (on && start < 0) start = x;
            if (!on && start >= 0) runs.push_back({y, start, x - start}), start = -1;
        }
        if (start >= 0) runs.push_back({y, start, map.width - start});
    }
    // Long runs rule out most places, and among them those far apart: a place is then given up after few rows.
    std::stable_sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.length > b.length; });
    for (size_t i = 1; i + 1 < runs.size() && i < 4; ++i) std::swap(runs[i], runs[i * (runs.size() - 1) / 4]);
}

bool findPlace(const Bitmap& field, const Runs& shape, int32_t from, int32_t to, int32_t& x, int32_t& y) {
    const int32_t words = field.words, places = field.width - shape.width + 1;
    if (places <= 0) return false;
    to = std::min(to, field.height - shape.height);
    thread_local std::vector<uint64_t> free, taken;
    free.resize(words);
    taken.resize(words);
    for (int32_t at = from; at <= to; ++at) {
        const int32_t all = (places + 63) / 64;
        std::fill(free.begin(), free.begin() + all, ~uint64_t{0});
        if (places & 63) free[all - 1] = ~uint64_t{0} >> (64 - (places & 63));
        int32_t lo = 0, hi = all;  // words of `free` with any bit left
        for (const Runs::Run& run : shape.runs) {
            const uint64_t* row = field.row(at + run.y);
            const int32_t reach = std::min(words, hi + (run.length >> 6) + 2);
            shiftDown(row, words, run.x, lo, reach, taken.data());
            for (int32_t have = 1; have < run.length;) {  // taken[i] becomes the OR of bits i .. i + length - 1
                const int32_t step = std::min(have, run.length - have);
                smearDown(taken.data(), reach, step, lo, reach);
                have += step;
            }
            for (int32_t i = lo; i < hi; ++i) free[i] &= ~taken[i];
            while (lo < hi && !free[lo]) ++lo;
            while (lo < hi && !free[hi - 1]) --hi;
            if (lo == hi) break;
        }
        if (lo < hi) {
            x = 64 * lo + __builtin_ctzll(free[lo]);
            y = at;
            return true;
        }
    }
    return false;
}

}  // namespace ovoxel::unwrap

// Two-dimensional bit sets in rows of 64-bit words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ovoxel::unwrap {

struct Bitmap {
    int32_t width = 0, height = 0, words = 0;  // words per row
    std::vector<uint64_t> bits;

    Bitmap() = default;
    Bitmap(int32_t w, int32_t h) : width(w), height(h), words((w + 63) / 64), bits(static_cast<size_t>(words) * h, 0) {}

    uint64_t* row(int64_t y) { return bits.data() + y * words; }
    const uint64_t* row(int64_t y) const { return bits.data() + y * words; }
    bool get(int32_t x, int32_t y) const { return row(y)[x >> 6] >> (x & 63) & 1; }
    void set(int32_t x, int32_t y) { row(y)[x >> 6] |= uint64_t{1} << (x & 63); }

    // Bits x0 .. x1, both included.
    void setRange(int32_t y, int32_t x0, int32_t x1) {
        uint64_t* r = row(y);
        const int32_t a = x0 >> 6, b = x1 >> 6;
        const uint64_t first = ~uint64_t{0} << (x0 & 63), last = ~uint64_t{0} >> (63 - (x1 & 63));
        if (a == b) {
            r[a] |= first & last;
            return;
        }
        r[a] |= first;
        for (int32_t k = a + 1; k < b; ++k) r[k] = ~uint64_t{0};
        r[b] |= last;
    }

    int64_t count() const;
    Bitmap dilated(int32_t radius) const;    // by a square; the size stays
    Bitmap halved() const;                   // a bit for every 2 x 2 bits, set if any of them is
    Bitmap turned() const;                   // by a quarter: (x, y) -> (height - 1 - y, x)
    void add(const Bitmap& other, int32_t x, int32_t y);
};

// Words [from, to] of row y of the bitmap half as wide and high: ORs them into `out`.
void halveRow(const Bitmap& fine, int32_t y, int32_t from, int32_t to, uint64_t* out);

// The runs of set bits in each row of a bitmap.
struct Runs {
    struct Run {
        int32_t y, x, length;
    };
    std::vector<Run> runs;  // longest first
    int32_t width = 0, height = 0;

    Runs() = default;
    explicit Runs(const Bitmap& map);
};

// The lowest row y in [from, to] at which `shape` fits into the free bits of `field`, and the smallest x there. Returns
// false if there is none.
bool findPlace(const Bitmap& field, const Runs& shape, int32_t from, int32_t to, int32_t& x, int32_t& y);

}  // namespace ovoxel::unwrap
